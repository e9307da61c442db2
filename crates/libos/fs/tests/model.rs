//! The file system against a plain model: a map from paths to content.

use corey_libos_cache::{Nothing, Shape};
use corey_libos_fs::{BadName, DESCRIPTORS, Error, Fs, Kind, Options};
use corey_test_host_cache::{Host, Random, cache, client, counts, region};
use std::collections::BTreeMap;

type Files<'a> = Fs<'a, Host, Nothing>;

const READ: Options = Options::READ;
const WRITE: Options = Options::WRITE;

/// Paths and what is there; `None` for directories.
type Model = BTreeMap<String, Option<Vec<u8>>>;

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// What the directory of `path` is: an error when it is none.
fn way(model: &Model, path: &str) -> Result<(), Error> {
    let Some(above) = parent(path) else { return Ok(()) };
    way(model, above)?;
    match model.get(above) {
        Some(None) => Ok(()),
        Some(Some(_)) => Err(Error::NotDirectory),
        None => Err(Error::NotFound),
    }
}

fn has_names(model: &Model, path: &str) -> bool {
    model.keys().any(|other| parent(other) == Some(path))
}

fn expect_rename(model: &Model, from: &str, to: &str) -> Result<(), Error> {
    way(model, from)?;
    way(model, to)?;
    let source = model.get(from).ok_or(Error::NotFound)?;
    if source.is_none() && to.starts_with(&format!("{from}/")) {
        return Err(Error::Inside);
    }
    match (source, model.get(to)) {
        _ if from == to => Ok(()),
        (Some(_), Some(None)) => Err(Error::IsDirectory),
        (None, Some(Some(_))) => Err(Error::NotDirectory),
        (None, Some(None)) if has_names(model, to) => Err(Error::NotEmpty),
        _ => Ok(()),
    }
}

fn path(random: &mut Random) -> String {
    let names = ["a", "b", "c", "long name with spaces", "ü"];
    let depth = 1 + random.below(3);
    (0..depth).map(|_| names[random.below(5) as usize]).collect::<Vec<_>>().join("/")
}

fn check(fs: &mut Files<'_>, model: &Model) {
    for (path, content) in model {
        let stat = fs.stat(path).unwrap();
        match content {
            None => {
                let mut names = Vec::new();
                fs.list(path, |name, kind| names.push((format!("{path}/{name}"), kind))).unwrap();
                names.sort_by(|a, b| a.0.cmp(&b.0));
                let wanted: Vec<_> = model
                    .iter()
                    .filter(|(other, _)| parent(other) == Some(path))
                    .map(|(other, what)| {
                        (other.clone(), if what.is_none() { Kind::Directory } else { Kind::File })
                    })
                    .collect();
                assert_eq!(
                    names.iter().map(|n| &n.0).collect::<Vec<_>>(),
                    wanted.iter().map(|n| &n.0).collect::<Vec<_>>()
                );
                assert!(names.iter().zip(&wanted).all(|(a, b)| a.1 == b.1));
                assert_eq!((stat.kind, stat.size), (Kind::Directory, names.len() as u64));
            }
            Some(content) => {
                assert_eq!((stat.kind, stat.size), (Kind::File, content.len() as u64));
                let file = fs.open(path, READ).unwrap();
                let mut bytes = vec![0; content.len() + 1];
                assert_eq!(fs.pread(file, 0, &mut bytes), Ok(content.len()));
                assert!(bytes[..content.len()] == content[..], "{path}");
                fs.close(file).unwrap();
            }
        }
    }
}

fn step(fs: &mut Files<'_>, model: &mut Model, random: &mut Random) {
    let at = path(random);
    match random.below(100) {
        0..20 => {
            let wanted = way(model, &at).and_then(|()| match model.get(&at) {
                Some(_) => Err(Error::Exists),
                None => Ok(()),
            });
            assert_eq!(fs.create_directory(&at), wanted, "mkdir {at}");
            if wanted.is_ok() {
                model.insert(at, None);
            }
        }
        20..50 => {
            let wanted = way(model, &at).and_then(|()| match model.get(&at) {
                Some(None) => Err(Error::IsDirectory),
                _ => Ok(()),
            });
            let file = fs.open(&at, WRITE | Options::CREATE);
            assert_eq!(file.map(|_| ()), wanted, "create {at}");
            if let Ok(file) = file {
                let content = model.entry(at).or_insert(Some(Vec::new())).as_mut().unwrap();
                let (offset, count) = (random.below(9000) as usize, random.below(5000) as usize);
                let bytes = vec![random.below(256) as u8; count];
                if random.below(4) == 0 {
                    assert_eq!(fs.append(file, &bytes), Ok((content.len() as u64, count)));
                    content.extend(&bytes);
                } else {
                    assert_eq!(fs.pwrite(file, offset as u64, &bytes), Ok(count));
                    if count > 0 {
                        content.resize(content.len().max(offset + count), 0);
                        content[offset..offset + count].copy_from_slice(&bytes);
                    }
                }
                if random.below(8) == 0 {
                    let size = random.below(9000);
                    assert_eq!(fs.truncate(file, size), Ok(()));
                    content.resize(size as usize, 0);
                }
                fs.close(file).unwrap();
            }
        }
        50..65 => {
            let wanted = way(model, &at).and_then(|()| match model.get(&at) {
                Some(None) => Err(Error::IsDirectory),
                Some(_) => Ok(()),
                None => Err(Error::NotFound),
            });
            assert_eq!(fs.unlink(&at), wanted, "unlink {at}");
            if wanted.is_ok() {
                model.remove(&at);
            }
        }
        65..75 => {
            let wanted = way(model, &at).and_then(|()| match model.get(&at) {
                Some(None) if has_names(model, &at) => Err(Error::NotEmpty),
                Some(None) => Ok(()),
                Some(_) => Err(Error::NotDirectory),
                None => Err(Error::NotFound),
            });
            assert_eq!(fs.remove_directory(&at), wanted, "rmdir {at}");
            if wanted.is_ok() {
                model.remove(&at);
            }
        }
        75..98 => {
            let to = path(random);
            let wanted = expect_rename(model, &at, &to);
            assert_eq!(fs.rename(&at, &to), wanted, "rename {at} to {to} in {:?}", model.keys());
            if wanted.is_ok() && at != to {
                model.remove(&to);
                let below = format!("{at}/");
                let moved: Vec<_> = model
                    .keys()
                    .filter(|other| **other == at || other.starts_with(&below))
                    .cloned()
                    .collect();
                for old in moved {
                    let what = model.remove(&old).unwrap();
                    model.insert(format!("{to}{}", &old[at.len()..]), what);
                }
            }
        }
        _ => check(fs, model),
    }
}

/// Removes everything, from the leaves on.
fn clear(fs: &mut Files<'_>, model: &mut Model) {
    while let Some((path, what)) = model.pop_last() {
        if what.is_none() { fs.remove_directory(&path).unwrap() } else { fs.unlink(&path).unwrap() }
    }
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x1234_5678_9abc)
}

#[test]
fn two_cores_see_one_map_of_paths() {
    let shape = Shape { clients: 2, files: 200, blocks: 900 };
    let region = region(shape);
    let cache = cache(&region, shape);
    let mut first = Fs::format(client(cache, 0, &Nothing)).unwrap();
    let mut second = Fs::mount(client(cache, 1, &Nothing)).unwrap();
    let (mut model, mut random) = (Model::new(), Random(seed()));
    for turn in 0..1_000_000_u64 {
        let fs = if random.below(2) == 0 { &mut first } else { &mut second };
        step(fs, &mut model, &mut random);
        if model.len() > 150 || turn % 10_000 == 0 {
            // Trees that moved below others are out of reach of short paths.
            check(&mut second, &model);
            clear(&mut first, &mut model);
            assert_eq!(counts(first.client()).files, 1, "the root is left");
        }
    }
}

#[test]
fn a_directory_of_ten_thousand_names() {
    let shape = Shape { clients: 1, files: 10_100, blocks: 1000 };
    let region = region(shape);
    let mut fs = Fs::format(client(cache(&region, shape), 0, &Nothing)).unwrap();
    fs.create_directory("d").unwrap();
    for n in 0..10_000 {
        let file = fs.open(format!("d/name {n}"), WRITE | Options::CREATE | Options::EXCLUSIVE).unwrap();
        fs.close(file).unwrap();
    }
    assert_eq!(fs.stat("d").unwrap().size, 10_000);
    let mut seen = vec![false; 10_000];
    fs.list("d", |name, _| {
        let n: usize = name.strip_prefix("name ").unwrap().parse().unwrap();
        assert!(!std::mem::replace(&mut seen[n], true));
    })
    .unwrap();
    assert!(seen.iter().all(|seen| *seen));
    for n in 0..10_000 {
        assert!(fs.stat(format!("d/name {n}")).is_ok());
        if n % 2 == 0 {
            fs.unlink(format!("d/name {n}")).unwrap();
        }
    }
    assert!(fs.stat("d/name 5000").is_err() && fs.stat("d/name 5001").is_ok());
    counts(fs.client());
}

#[test]
fn errors_say_which() {
    let shape = Shape { clients: 2, files: 100, blocks: 64 };
    let region = region(shape);
    let all = cache(&region, shape);
    assert_eq!(Fs::mount(client(all, 0, &Nothing)).map(|_| ()).unwrap_err(), Error::NoFileSystem);
    let mut fs = Fs::format(client(all, 0, &Nothing)).unwrap();
    assert_eq!(Fs::format(client(all, 1, &Nothing)).map(|_| ()).unwrap_err(), Error::Exists);
    fs.fill("d/f", b"bytes").unwrap();
    let bad = |bad| Err(Error::BadName(bad));
    let long = "x".repeat(256);
    for (path, wanted) in [
        ("", BadName::Empty),
        ("/d/f", BadName::Absolute),
        ("d//f", BadName::Empty),
        ("d/", BadName::Empty),
        ("d/../d/f", BadName::Dotted),
        (".", BadName::Dotted),
        (&*long, BadName::TooLong),
    ] {
        assert_eq!(fs.open(path, READ).map(|_| ()), bad(wanted), "{path}");
        assert_eq!(fs.rename("d/f", path), bad(wanted), "{path}");
        assert_eq!(fs.create_directory(path), bad(wanted), "{path}");
    }
    assert_eq!(fs.open(b"d/\xff", READ).map(|_| ()), bad(BadName::NotUtf8));
    assert_eq!(fs.open("d/f/g", READ).map(|_| ()), Err(Error::NotDirectory));
    assert_eq!(fs.open("d", READ).map(|_| ()), Err(Error::IsDirectory));
    assert_eq!(fs.open("e", READ).map(|_| ()), Err(Error::NotFound));
    assert_eq!(fs.list("d/f", |_, _| ()), Err(Error::NotDirectory));
    let only_read = fs.open("d/f", READ).unwrap();
    assert_eq!(fs.pwrite(only_read, 0, b"x"), Err(Error::NotPermitted));
    assert_eq!(fs.truncate(only_read, 0), Err(Error::NotPermitted));
    let only_write = fs.open("d/f", WRITE).unwrap();
    assert_eq!(fs.pread(only_write, 0, &mut [0]), Err(Error::NotPermitted));
    use corey_libos_cache::Error as Cached;
    assert_eq!(fs.pwrite(only_write, u64::MAX, b"xy"), Err(Error::Cache(Cached::OutOfRange)));
    assert_eq!(fs.pwrite(only_write, 1 << 50, b"xy"), Err(Error::Cache(Cached::TooLarge)));
    assert_eq!(fs.pread(only_read, u64::MAX, &mut [0]), Ok(0));
    // Gone, and still open.
    fs.unlink("d/f").unwrap();
    let mut bytes = [0; 8];
    assert_eq!((fs.pread(only_read, 0, &mut bytes), &bytes[..5]), (Ok(5), &b"bytes"[..]));
    fs.remove_directory("d").unwrap();
    assert_eq!(fs.open("d/f", READ | Options::CREATE).map(|_| ()), Err(Error::NotFound));
    fs.close(only_read).unwrap();
    assert_eq!(fs.close(only_read), Err(Error::BadDescriptor));
    assert_eq!(
        fs.pread(only_read, 0, &mut bytes),
        Err(Error::BadDescriptor),
        "another one has its place now"
    );
    // Another core, and what it shares.
    let mut other = Fs::mount(client(all, 1, &Nothing)).unwrap();
    let id = fs.share(only_write).unwrap();
    assert_eq!(other.open_shared(id, READ), Err(Error::NotFound), "it was removed");
    fs.close(only_write).unwrap();
    fs.fill("h", b"bytes").unwrap();
    let mine = fs.open("h", READ).unwrap();
    let shared = fs.share(mine).and_then(|id| other.open_shared(id, READ)).unwrap();
    fs.unlink("h").unwrap();
    fs.close(mine).unwrap();
    assert_eq!(other.pread(shared, 1, &mut bytes), Ok(4));
    other.close(shared).unwrap();
    // As many as there are.
    let files: Vec<_> = (0..DESCRIPTORS).map(|_| fs.open("g", READ | Options::CREATE).unwrap()).collect();
    assert_eq!(fs.open("g", READ), Err(Error::TooManyOpen));
    for file in files {
        fs.close(file).unwrap();
    }
    fs.unlink("g").unwrap();
    let left = counts(fs.client());
    assert_eq!(left.files, 1, "{left:?}");
}

/// The same work in caches of every size up to one that is large enough: what fails says `Full`, what was done stays, and
/// all comes back.
#[test]
fn a_cache_that_is_full_at_every_step_loses_nothing() {
    let mut failures = 0;
    for (files, blocks) in (1..60).map(|n| (40, n)).chain((1..14).map(|n| (n, 60))) {
        let shape = Shape { clients: 1, files, blocks };
        let region = region(shape);
        let mut fs = Fs::format(client(cache(&region, shape), 0, &Nothing)).unwrap();
        let mut model = Model::new();
        let mut full = |result: Result<(), Error>| match result {
            Ok(()) => true,
            Err(Error::Cache(corey_libos_cache::Error::Full | corey_libos_cache::Error::TooManyFiles)) => {
                failures += 1;
                false
            }
            other => panic!("{other:?}"),
        };
        for n in 0..4_u8 {
            let dir = format!("d{n}");
            if !full(fs.create_directory(&dir)) {
                continue;
            }
            model.insert(dir.clone(), None);
            for size in [100, 5000, 12_000] {
                let at = format!("{dir}/f{size}");
                if full(fs.fill(&at, &vec![n + 1; size])) {
                    model.insert(at.clone(), Some(vec![n + 1; size]));
                    let to = format!("{dir}/g{size}");
                    if full(fs.rename(&at, &to)) {
                        let content = model.remove(&at).unwrap();
                        model.insert(to, content);
                    }
                }
            }
        }
        check(&mut fs, &model);
        for (path, what) in model.iter().rev() {
            // However full it is.
            if what.is_none() { fs.remove_directory(path).unwrap() } else { fs.unlink(path).unwrap() }
        }
        assert_eq!(counts(fs.client()).files, 1);
    }
    assert!(failures > 50, "{failures}");
}
