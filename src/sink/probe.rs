//! Sends a single request that changes nothing at the receiver, to test the setup.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::client::{Answer, BuildError, Client, Request, SendError};
use super::request::request;
use super::verdict::{Asked, Verdict, verdict};
use crate::clock;
use crate::config::{Message, PushgatewayConfig, RemoteWriteConfig};
use crate::wire::{Protocol, empty};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error(transparent)]
    Client(#[from] BuildError),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The response of a remote-write receiver.
#[derive(Debug)]
pub struct Probed {
    pub protocol: Protocol,
    pub verdict: Verdict,
    pub answer: Answer,
}

/// Sends a request without series, in the protocol version that the sink would use.
pub async fn remote_write(config: &RemoteWriteConfig) -> Result<Probed, ProbeError> {
    let client = Client::new(&config.client)?;
    let mut protocol = match config.message {
        Message::Auto | Message::V2 => Protocol::V2,
        Message::V1 => Protocol::V1,
    };
    loop {
        let sent = request(&config.url, protocol, empty(protocol), 0);
        let answer = client.send(sent).await?;
        let asked = Asked {
            protocol,
            may_downgrade: config.message == Message::Auto,
            is_proven: false,
            retry_on_429: config.queue.retry_on_429,
        };
        let verdict = verdict(answer.status, &answer.headers, asked, clock::now());
        if verdict == Verdict::Downgrade && protocol == Protocol::V2 {
            protocol = Protocol::V1;
            continue;
        }
        return Ok(Probed {
            protocol,
            verdict,
            answer,
        });
    }
}

/// Requests the status of a Pushgateway.
pub async fn pushgateway(config: &PushgatewayConfig) -> Result<Answer, ProbeError> {
    let client = Client::new(&config.client)?;
    let mut url = config.url.clone();
    let path = format!("{}/api/v1/status", url.path().trim_end_matches('/'));
    url.set_path(&path);
    let status = Request {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    Ok(client.send(status).await?)
}
