//! Random call sequences against the reference model: every answer must be the model's.

mod common;

use common::*;
use corey_abi::{Error, Id, ObjRef, SegmentCalls, ShareCalls};
use corey_test_model::{ModelError, ModelShares};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc(usize, u64),
    Size(usize, usize),
    Resize(usize, usize, u64),
    Add(usize, usize, usize),
    Remove(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (share, segment, pages) = (0..3_usize, 0..8_usize, prop_oneof![0..6_u64, 500..530_u64]);
    prop_oneof![
        (share.clone(), pages.clone()).prop_map(|(a, n)| Step::Alloc(a, n)),
        (share.clone(), segment.clone()).prop_map(|(a, s)| Step::Size(a, s)),
        (share.clone(), segment.clone(), pages).prop_map(|(a, s, n)| Step::Resize(a, s, n)),
        (share.clone(), share.clone(), segment.clone()).prop_map(|(a, b, s)| Step::Add(a, b, s)),
        (share, segment).prop_map(|(a, s)| Step::Remove(a, s)),
    ]
}

fn same(error: ModelError) -> Error {
    match error {
        ModelError::NotFound => Error::NotFound,
        ModelError::QuotaExceeded => Error::QuotaExceeded,
        ModelError::Exists => Error::Exists,
        ModelError::Busy => Error::Busy,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn shares_and_segments_answer_as_the_model(steps in proptest::collection::vec(step(), 1..80)) {
        let booted = boot(1);
        let different = booted.on(0, move |user| {
            let boot = start(user).boot;
            let mut model = ModelShares::default();
            let quotas = [(40, 6), (600, 4), (1100, 8)];
            let shares: Vec<Id> = quotas.iter().map(|(p, o)| share(user, boot, *p, *o).unwrap()).collect();
            quotas.iter().for_each(|(p, o)| { model.share(*p, *o); });
            let mut segments = Vec::<Id>::new();
            for step in steps {
                let object = |a: usize, s: usize| ObjRef {
                    share: shares[a],
                    object: segments.get(s).copied().unwrap_or(Id(0xdead)),
                };
                let (wanted, got) = match step {
                    Step::Alloc(a, pages) => {
                        let got = segment(user, shares[a], pages);
                        if let Ok(made) = got {
                            segments.push(made.object);
                        }
                        (model.alloc(a, pages).map(|_| 0), got.map(|_| 0))
                    }
                    Step::Size(a, s) => {
                        let at = object(a, s);
                        (model.size(a, s), user.sys().segment_get_nbytes(at).map(|n| n / 4096))
                    }
                    Step::Resize(a, s, pages) => {
                        let at = object(a, s);
                        (model.resize(a, s, pages).map(|()| 0), user.sys().segment_set_nbytes(at, pages * 4096).map(|()| 0))
                    }
                    Step::Add(a, b, s) => {
                        let at = object(b, s);
                        (model.add(a, b, s).map(|()| 0), user.sys().share_addobj(shares[a], at).map(|()| 0))
                    }
                    Step::Remove(a, s) => {
                        let at = object(a, s);
                        (model.remove(a, s).map(|()| 0), user.sys().share_delobj(at).map(|()| 0))
                    }
                };
                if wanted.map_err(same) != got {
                    return Some(format!("{step:?}: the kernel says {got:?}, the model {wanted:?}"));
                }
            }
            for id in shares {
                end(user, boot, id);
            }
            None
        });
        prop_assert_eq!(different, None);
        audit(&booted);
    }
}
