//! Parses URLs as users of Prometheus and Celery write them.

use url::Url;

use crate::secret::Secret;

/// User and password from a URL, percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlLogin {
    pub username: Secret,
    pub password: Option<Secret>,
}

/// Parses a receiver's URL and the login in it. Error messages do not repeat the URL.
pub(super) fn parse_http_with_login(
    text: &str,
    such_as: &str,
) -> Result<(Url, Option<UrlLogin>), String> {
    let url =
        Url::parse(text).map_err(|error| format!("not a URL ({error}); one such as {such_as}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!(
            "expected an http or https URL such as {such_as}, found the scheme `{}`",
            url.scheme()
        ));
    }
    if url.username().is_empty() && url.password().is_none() {
        return Ok((url, None));
    }
    let decoded = |text: &str| {
        let text =
            decode(text).ok_or("the credentials are not valid UTF-8 after percent-decoding")?;
        Ok::<_, &str>(Secret::Inline(text))
    };
    let login = UrlLogin {
        username: decoded(url.username())?,
        password: url.password().map(decoded).transpose()?,
    };
    let mut url = url;
    // Only refused for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok((url, Some(login)))
}

/// Formats a URL for the log and for labels.
pub(super) fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // Only refused for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    // Some receivers expect their API key in the query.
    let names: Vec<String> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    if !names.is_empty() {
        let shown = names.iter().map(|name| format!("{name}=<secret>"));
        let shown = shown.collect::<Vec<_>>().join("&");
        url.set_query(None);
        return format!("{url}?{shown}");
    }
    url.into()
}

/// Formats a host and a port as in a URL.
pub fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Decodes percent escapes; what is not one stays, as in Python's `unquote`. Returns `None` if the
/// result is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind
            .get(..2)
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        assert_eq!(host_and_port("::1", 5672), "[::1]:5672");
        assert_eq!(host_and_port("rabbit", 5672), "rabbit:5672");
    }

    #[test]
    fn errors_do_not_tell_passwords() {
        let errors = [
            parse_http_with_login("http://user:hunter2@h:port/", "").expect_err("port"),
            parse_http_with_login("ftp://user:hunter2@h/", "").expect_err("scheme"),
            parse_http_with_login("http://user:hunter2%FF@h/", "").expect_err("no UTF-8"),
        ];
        for error in errors {
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn bad_escapes_are_not_decoded() {
        assert_eq!(decode("%zz%+1%4").as_deref(), Some("%zz%+1%4"));
        assert_eq!(decode("%C3%A4%2f").as_deref(), Some("ä/"));
        assert_eq!(decode("%FF"), None);
    }
}
