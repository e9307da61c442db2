//! What a benchmark claims: said once, in its README.

/// Returns the paragraph that begins with `**Claim.**`, without that word, on one line.
pub fn claim(readme: &str) -> Option<String> {
    let (_, after) = readme.split_once("**Claim.**")?;
    let paragraph = after.lines().take_while(|line| !line.trim().is_empty());
    let text = paragraph.map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_is_the_whole_paragraph() {
        let text = "# x\n\n**Claim.** It is fast and\nshares nothing.\n\nMore.\n";
        assert_eq!(claim(text).as_deref(), Some("It is fast and shares nothing."));
        assert_eq!(claim("# x\n"), None);
    }

    #[test]
    fn every_benchmark_that_exists_claims_something() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../benches");
        for bench in &corey_lib_bench::BENCHMARKS {
            let text = std::fs::read_to_string(root.join(bench.name).join("README.md")).unwrap();
            assert!(claim(&text).is_some(), "benches/{}/README.md has no **Claim.**", bench.name);
        }
    }
}
