//! The words of a command line.

/// Splits a text into words as a shell does, without expanding anything.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => match chars.next() {
                Some('\n') | None => {}
                Some(next) => {
                    let word = word.get_or_insert_default();
                    if quote.is_some() && !"\"\\$`".contains(next) {
                        word.push('\\');
                    }
                    word.push(next);
                }
            },
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            ('$', _) if chars.peek() == Some(&'{') && chars.clone().any(|c| c == '}') => {
                let word = word.get_or_insert_default();
                word.push(c);
                while let Some(c) = chars.next_if(|c| *c != '}') {
                    word.push(c);
                }
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The name of a program in a path, without systemd's prefixes.
pub(super) fn base_name(word: &str) -> &str {
    let word = word.trim_start_matches(['-', '@', ':', '+', '!']);
    word.rsplit('/').next().unwrap_or(word)
}
