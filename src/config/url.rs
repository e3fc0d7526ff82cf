//! URLs, as Prometheus' and as Celery's users write them.

use url::Url;

use super::secret::Secret;

/// A receiver's URL. The message of an error does not repeat the URL, which may hold credentials.
pub(super) fn parse_http(text: &str) -> Result<Url, String> {
    let such_as = "such as http://prometheus:9090/api/v1/write";
    let url = Url::parse(text).map_err(|error| format!("not a URL ({error}); one {such_as}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!(
            "expected an http or https URL {such_as}, found the scheme `{}`",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials stand in `basic_auth`, not in the URL".to_owned());
    }
    Ok(url)
}

/// A URL for the log and for labels.
pub(super) fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // Only refused for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// A broker's URL in its parts, percent-decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BrokerUrl {
    pub(super) scheme: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// With its slashes.
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
}

/// Takes a broker's URL apart, as Kombu does. The message of an error does not repeat the URL.
pub(super) fn parse_broker(text: &str) -> Result<BrokerUrl, String> {
    let such_as = "such as amqp://user:password@host:5672/vhost or redis://host:6379/0";
    if text.contains(';') || text.contains(',') {
        return Err("several hosts in one URL cannot be read; give one".to_owned());
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(format!("not a URL; one {such_as}"))?;
    // A socket's URL has no host, which the parser refuses beside credentials.
    let socket = scheme.ends_with("+socket");
    let filled = match rest.split_once('@') {
        Some((user, path)) if socket => format!("{scheme}://{user}@localhost{path}"),
        None if socket => format!("{scheme}://localhost{rest}"),
        _ => text.to_owned(),
    };
    let url = Url::parse(&filled).map_err(|error| format!("not a URL ({error}); one {such_as}"))?;
    let decoded =
        |text: &str| decode(text).ok_or("a part of the URL is no UTF-8 when decoded".to_owned());
    let username = Some(url.username())
        .filter(|name| !name.is_empty())
        .map(decoded)
        .transpose()?;
    let password = url.password().map(decoded).transpose()?;
    Ok(BrokerUrl {
        scheme: url.scheme().to_owned(),
        username,
        password: password.map(Secret::Inline),
        host: decoded(
            url.host_str()
                .filter(|host| !host.is_empty())
                .unwrap_or("localhost"),
        )?,
        port: url.port(),
        path: decoded(url.path())?,
        query: url
            .query_pairs()
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect(),
    })
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| first == b'%');
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
    fn a_broker_url_is_taken_apart_and_decoded() {
        let url = parse_broker("amqp://us%40er:p%2Fw@rabbit:5673/foo%2Fbar").expect("a URL");
        assert_eq!(
            (url.scheme.as_str(), url.host.as_str(), url.port),
            ("amqp", "rabbit", Some(5673))
        );
        assert_eq!(url.username.as_deref(), Some("us@er"));
        assert_eq!(url.password, Some(Secret::Inline("p/w".into())));
        assert_eq!(url.path, "/foo/bar");
    }

    #[test]
    fn hosts_may_be_missing_and_sockets_have_paths() {
        let cases = [
            ("amqp://", "localhost", "", None),
            ("redis://:pw@h/2", "h", "/2", Some("pw")),
            (
                "redis+socket:///tmp/r.sock?virtual_host=3",
                "localhost",
                "/tmp/r.sock",
                None,
            ),
            (
                "redis+socket://:pw@/tmp/r.sock",
                "localhost",
                "/tmp/r.sock",
                Some("pw"),
            ),
        ];
        for (text, host, path, password) in cases {
            let url = parse_broker(text).expect(text);
            assert_eq!(
                (url.host.as_str(), url.path.as_str()),
                (host, path),
                "{text}"
            );
            assert_eq!(
                url.password,
                password.map(|text| Secret::Inline(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_do_not_tell_passwords() {
        let errors = [
            parse_http("http://user:hunter2@h/").expect_err("credentials"),
            parse_http("ftp://user:hunter2@h/").expect_err("scheme"),
            parse_broker("amqp://user:hunter2@a//;amqp://b//").expect_err("two hosts"),
            parse_broker("amqp://user:hunter2@h:port/").expect_err("port"),
            parse_broker("user:hunter2@h").expect_err("no scheme"),
        ];
        for error in errors {
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
