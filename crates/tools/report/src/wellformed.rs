//! For tests: a reader that insists on balanced tags, quoted attributes and escaped text.

/// Reads a whole page.
///
/// # Errors
///
/// What is wrong, and where.
pub(crate) fn check(page: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("no document type")?;
    while let Some((text, after)) = rest.split_once('<') {
        entities(text)?;
        let (tag, next) = after.split_once('>').ok_or("a tag that does not end")?;
        rest = next;
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop().ok_or(format!("</{name}> closes nothing"))?;
            if last != name {
                return Err(format!("</{name}> closes <{last}>"));
            }
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap_or("");
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("<{tag}> has no name"));
        }
        attributes(tag.trim_end_matches('/').strip_prefix(name).unwrap_or(""))?;
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    entities(rest)?;
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {open:?}")) }
}

fn attributes(mut rest: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or(format!("{rest:?} is no attribute"))?;
        let (value, next) = after.split_once('"').ok_or(format!("{rest:?} does not end"))?;
        let name = name.trim();
        if name.is_empty() || name.contains([' ', '"', '\'']) || seen.contains(&name) {
            return Err(format!("attribute {name:?}"));
        }
        entities(value)?;
        seen.push(name);
        rest = next;
    }
    Ok(())
}

fn entities(text: &str) -> Result<(), String> {
    for part in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        if !known.iter().any(|entity| part.starts_with(entity)) {
            return Err(format!("&{part}"));
        }
    }
    Ok(())
}

#[test]
fn the_reader_finds_what_is_wrong() {
    let page = |text: &str| check(&format!("<!DOCTYPE html>\n{text}"));
    assert_eq!(page("<p class=\"x\">a &lt; b<br/></p>\n"), Ok(()));
    for wrong in
        ["<p>", "</p>", "<p><b></p></b>", "<p x=1></p>", "a & b", "<p a=\"1\" a=\"2\"></p>", "< p></p>"]
    {
        assert!(page(wrong).is_err(), "{wrong}");
    }
}
