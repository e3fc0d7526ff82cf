//! Checks an AWS Signature Version 4 by recalculating it. Source:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use super::endpoint::Asked;

/// Checks the signature of a request for `eu-west-1` and `aps`. The error says what is wrong.
pub fn check(asked: &Asked, access_key: &str, secret_key: &str) -> Result<(), String> {
    let date = asked.header("x-amz-date");
    let day = date.get(..8).ok_or("no x-amz-date")?;
    let scope = format!("{day}/eu-west-1/aps/aws4_request");
    let authorization = asked.header("authorization");
    let start = format!("AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders=");
    let rest = authorization
        .strip_prefix(&start)
        .ok_or_else(|| format!("{authorization} does not start with {start}"))?;
    let (names, signature) = rest.split_once(", Signature=").ok_or("no signature")?;
    let names_list: Vec<&str> = names.split(';').collect();
    for must in ["host", "x-amz-date", "content-type"] {
        if !names_list.contains(&must) {
            return Err(format!("{must} is not signed"));
        }
    }
    let mut sorted = names_list.clone();
    sorted.sort_unstable();
    if sorted != names_list {
        return Err(format!("{names} are not in order"));
    }
    let mut canonical = format!("{}\n{}\n", asked.method, asked.uri.path());
    let mut query: Vec<&str> = asked.uri.query().unwrap_or("").split('&').collect();
    query.sort_unstable();
    writeln!(canonical, "{}", query.join("&")).expect("a string");
    for name in names_list {
        let words: Vec<&str> = asked.header(name).split_whitespace().collect();
        writeln!(canonical, "{name}:{}", words.join(" ")).expect("a string");
    }
    write!(canonical, "\n{names}\n{}", hash(&asked.body)).expect("a string");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hash(canonical.as_bytes())
    );
    let mut key = format!("AWS4{secret_key}").into_bytes();
    for part in scope.split('/') {
        key = mac(&key, part);
    }
    let expected = hex(&mac(&key, &to_sign));
    if expected == signature {
        Ok(())
    } else {
        Err(format!("{signature} is not {expected} of\n{canonical}"))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
