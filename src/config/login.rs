//! Authentication at a receiver, with Prometheus' key names. Each receiver uses one method.

use url::Url;

use super::proxy::ProxyConfig;
use super::section::Section;
use super::shown::Shown;
use super::tls::TlsConfig;
use super::url::{UrlLogin, parse_http_with_login, without_credentials};
use crate::secret::Secret;

/// How a sink authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    None,
    Basic {
        username: Secret,
        password: Option<Secret>,
    },
    Credentials {
        scheme: String,
        credentials: Secret,
    },
    OAuth2(Box<OAuth2Config>),
    SigV4(Box<SigV4Config>),
}

/// OAuth 2 with client credentials (RFC 6749, 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Config {
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub token_url: Url,
    pub scopes: Vec<String>,
    /// Additional form parameters of token requests. Some endpoints expect secrets here.
    pub endpoint_params: Vec<(String, Secret)>,
    pub tls: TlsConfig,
    pub proxy: ProxyConfig,
}

/// AWS Signature Version 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigV4Config {
    pub region: String,
    pub access_key: Secret,
    pub secret_key: Secret,
    /// Session token that belongs to temporary keys.
    pub session_token: Option<Secret>,
}

const AZURE_INSTEAD: &str = "is not supported; use `oauth2` with client_id, client_secret, token_url: \
                             https://login.microsoftonline.com/TENANT/oauth2/v2.0/token, and scopes: \
                             [https://monitor.azure.com//.default]";
const GOOGLE_INSTEAD: &str = "is not supported; write the token into a file that something else renews, and name it \
                              in `authorization.credentials_file`";

impl Authorization {
    /// Reads the configured method; more than one is a problem.
    pub(super) fn read(section: &mut Section<'_>, in_url: Option<UrlLogin>) -> Self {
        // Credentials in a URL mean basic auth, as in Go's client and therefore Prometheus.
        let in_url = in_url.map(|login| Self::Basic {
            username: login.username,
            password: login.password,
        });
        let basic = section.optional_section("basic_auth", basic);
        let authorization = section.optional_section("authorization", credentials);
        // The form before `authorization`, which Prometheus still reads.
        let bearer = section.secret("bearer_token", "bearer_token_file");
        let bearer = bearer.map(|credentials| Self::Credentials {
            scheme: "Bearer".to_owned(),
            credentials,
        });
        let oauth2 = section.optional_section("oauth2", OAuth2Config::read);
        for (key, instead) in [("azuread", AZURE_INSTEAD), ("google_iam", GOOGLE_INSTEAD)] {
            section.unsupported(key, instead);
        }
        let sigv4 = section.optional_section("sigv4", SigV4Config::read);
        let ways = [
            ("the credentials in `url`", in_url.map(Some)),
            ("basic_auth", basic.map(Some)),
            ("authorization", authorization),
            ("bearer_token", bearer.map(Some)),
            (
                "oauth2",
                oauth2.map(|oauth2| Some(Self::OAuth2(Box::new(oauth2?)))),
            ),
            (
                "sigv4",
                sigv4.map(|sigv4| Some(Self::SigV4(Box::new(sigv4?)))),
            ),
        ];
        let given = ways
            .into_iter()
            .filter_map(|(key, login)| Some((key, login?)));
        let mut given = given;
        let Some((first, login)) = given.next() else {
            return Self::None;
        };
        for (key, _) in given {
            let first = if first.contains('`') {
                first.to_owned()
            } else {
                format!("`{first}`")
            };
            section.problem(key, format!("either this or {first}, not both"));
        }
        login.unwrap_or(Self::None)
    }
}

fn basic(section: &mut Section<'_>) -> Authorization {
    let username = section.secret("username", "username_file");
    if let Some(Secret::Inline(name)) = &username {
        // A user name is not secret.
        section.show("username", Shown::Text(name.clone()));
    }
    Authorization::Basic {
        username: username.unwrap_or_else(|| Secret::Inline(String::new())),
        password: section.secret("password", "password_file"),
    }
}

fn credentials(section: &mut Section<'_>) -> Option<Authorization> {
    let scheme = section.text("type", "Bearer");
    if scheme.eq_ignore_ascii_case("basic") {
        section.problem(
            "type",
            "cannot be basic; use `basic_auth` for a user name and password",
        );
    }
    let credentials = section.secret("credentials", "credentials_file");
    if credentials.is_none() {
        section.problem("credentials", "is missing; set it or `credentials_file`");
    }
    Some(Authorization::Credentials {
        scheme,
        credentials: credentials?,
    })
}

impl OAuth2Config {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let client_id = section.needed_text("client_id", "celeriac");
        let client_secret = section.secret("client_secret", "client_secret_file");
        let token_url = token_url(section);
        let scopes = section.texts("scopes", &[]);
        let params = section.text_map("endpoint_params");
        let shown = params.iter();
        let shown = shown.map(|(name, _)| (name.clone(), Shown::Secret));
        section.show("endpoint_params", Shown::Map(shown.collect()));
        for (name, _) in &params {
            // As in Go's client, which sets these parameters itself.
            if name == "grant_type" || (name == "scope" && !scopes.is_empty()) {
                let what = "celeriac sets this itself; remove it";
                section.problem(&format!("endpoint_params.{name}"), what);
            }
        }
        let params = params.into_iter();
        let endpoint_params = params
            .map(|(name, value)| (name, Secret::Inline(value)))
            .collect();
        let tls = section.section("tls_config", TlsConfig::read);
        let proxy = ProxyConfig::read(section);
        Some(Self {
            client_id: client_id?,
            client_secret,
            token_url: token_url?,
            scopes,
            endpoint_params,
            tls,
            proxy,
        })
    }
}

fn token_url(section: &mut Section<'_>) -> Option<Url> {
    let such_as = "https://login.example.com/oauth2/token";
    let text = section.needed_text("token_url", such_as)?;
    match parse_http_with_login(&text, such_as) {
        Ok((url, None)) => {
            section.show("token_url", Shown::Text(without_credentials(&url)));
            Some(url)
        }
        Ok((_, Some(_))) => {
            section.show("token_url", Shown::Null);
            let what = "the URL contains credentials; use `client_id` and `client_secret` instead";
            section.problem("token_url", what);
            None
        }
        Err(what) => {
            section.show("token_url", Shown::Null);
            section.problem("token_url", what);
            None
        }
    }
}

impl SigV4Config {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let region = section.optional_text("region");
        let region = region.or_else(|| {
            let region = section.environment("AWS_REGION");
            let region = region.or_else(|| section.environment("AWS_DEFAULT_REGION"));
            region.map(str::to_owned)
        });
        section.show("region", region.clone().map_or(Shown::Null, Shown::Text));
        let access_key = section.secret("access_key", "access_key_file");
        let secret_key = section.secret("secret_key", "secret_key_file");
        for (key, why) in [
            (
                "profile",
                "AWS profile files are not supported; set `access_key` and `secret_key`",
            ),
            (
                "role_arn",
                "assuming roles is not supported; set the keys of a user, or pass the role's keys \
                 in the environment",
            ),
        ] {
            if section.optional_text(key).is_some() {
                section.problem(key, why);
            }
        }
        if region.is_none() {
            section.problem(
                "region",
                "is missing; set it, for example to eu-west-1, or set AWS_REGION",
            );
        }
        let (access_key, secret_key, session_token) = Self::keys(section, access_key, secret_key);
        if cfg!(not(feature = "sigv4")) {
            section.problem(
                "",
                "this celeriac was built without AWS signatures; build it with `--features sigv4`",
            );
            return None;
        }
        Some(Self {
            region: region?,
            access_key: access_key?,
            secret_key: secret_key?,
            session_token,
        })
    }

    /// The access key, secret key and session token, from the file or else from the environment.
    fn keys(
        section: &mut Section<'_>,
        access_key: Option<Secret>,
        secret_key: Option<Secret>,
    ) -> (Option<Secret>, Option<Secret>, Option<Secret>) {
        match (access_key, secret_key) {
            (Some(access_key), Some(secret_key)) => (Some(access_key), Some(secret_key), None),
            (None, None) => {
                let [access_key, secret_key, session_token] = [
                    "AWS_ACCESS_KEY_ID",
                    "AWS_SECRET_ACCESS_KEY",
                    "AWS_SESSION_TOKEN",
                ]
                .map(|name| section.environment(name).map(str::to_owned))
                .map(|key| key.map(Secret::Inline));
                let keys = (access_key, secret_key, session_token);
                if keys.0.is_none() || keys.1.is_none() {
                    section.problem(
                        "access_key",
                        "is missing, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both \
                         set; roles of pods and machines are not supported",
                    );
                }
                keys
            }
            (access_key, _) => {
                let (given, missing) = match access_key {
                    Some(_) => ("access_key", "secret_key"),
                    None => ("secret_key", "access_key"),
                };
                section.problem(missing, format!("is missing; `{given}` requires it"));
                (None, None, None)
            }
        }
    }
}
