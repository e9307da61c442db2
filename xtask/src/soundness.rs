//! `docs/soundness.md`: every claim leads to a test, and the test is there.

use crate::{Result, paths};

const PAGE: &str = "docs/soundness.md";

/// Checks the page's links: the file that each leads to has the link's text.
///
/// # Errors
///
/// The links that lead nowhere.
pub(crate) fn check() -> Result<()> {
    let page = std::fs::read_to_string(paths::root().join(PAGE))?;
    let links = links(&page);
    let stale = |(name, path): &&(&str, &str)| {
        let file = paths::root().join("docs").join(path);
        !std::fs::read_to_string(file).is_ok_and(|text| text.contains(name))
    };
    let stale: Vec<_> =
        links.iter().filter(stale).map(|(name, path)| format!("`{name}` in {path}")).collect();
    if !stale.is_empty() {
        return Err(format!("{PAGE} leads to what is not there: {}", stale.join(", ")).into());
    }
    println!("manual: all {} links of {PAGE} lead to a test", links.len());
    Ok(())
}

/// Links of the form `` [`name`](path) ``.
fn links(page: &str) -> Vec<(&str, &str)> {
    let mut links = Vec::new();
    for rest in page.split("[`").skip(1) {
        if let Some((name, rest)) = rest.split_once("`](")
            && let Some((path, _)) = rest.split_once(')')
        {
            links.push((name, path));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    #[test]
    fn links_are_names_and_paths() {
        let page = "a [`one`](../x.rs), b `code` and [`two three`](y.rs).";
        assert_eq!(super::links(page), [("one", "../x.rs"), ("two three", "y.rs")]);
    }
}
