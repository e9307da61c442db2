//! Text that becomes markup.

/// Returns `text` so that it is nothing but text, in elements and in quoted attributes; characters that no document may hold become `?`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() && c != '\n' => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns `text` with what stands between backticks as code.
pub(crate) fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without a partner is a backtick.
    let paired = parts.len() % 2 == 1;
    let piece = |(n, part): (usize, &&str)| match n % 2 {
        1 if paired => format!("<code>{}</code>", escape(part)),
        1 => format!("`{}", escape(part)),
        _ if n > 0 && !paired => format!("`{}", escape(part)),
        _ => escape(part),
    };
    parts.iter().enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_text() {
        assert_eq!(escape("<a b='\"'>&\u{1}"), "&lt;a b=&#39;&quot;&#39;&gt;&amp;?");
        assert_eq!(prose("a `b<` c"), "a <code>b&lt;</code> c");
        assert_eq!(prose("a `b c"), "a `b c");
    }
}
