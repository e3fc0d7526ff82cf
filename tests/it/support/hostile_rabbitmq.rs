//! A server that speaks AMQP until it has a consumer, and then sends data that no broker would send.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use amq_protocol::protocol::connection::{AMQPMethod as Conn, CloseOk, OpenOk, Start, Tune};
use amq_protocol::protocol::{AMQPClass, basic, channel, exchange, queue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::raw_amqp::{method, read_method};

/// The proposed limits, the data sent to a consumer once, and the data sent over and over.
#[derive(Clone, Debug)]
pub struct Attack {
    pub tune: Tune,
    pub once: Vec<u8>,
    pub repeated: Vec<u8>,
}

/// The limits that RabbitMQ proposes.
pub const USUAL: Tune = Tune {
    channel_max: 2047,
    frame_max: 128 << 10,
    heartbeat: 60,
};

pub struct HostileRabbitMq {
    port: u16,
    attacks: Arc<AtomicU64>,
    agreed: Arc<Mutex<Vec<Tune>>>,
}

impl HostileRabbitMq {
    pub async fn start(attack: Attack) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = Self {
            port,
            attacks: Arc::default(),
            agreed: Arc::default(),
        };
        let (attacks, agreed) = (Arc::clone(&server.attacks), Arc::clone(&server.agreed));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (attack, attacks, agreed) =
                    (attack.clone(), Arc::clone(&attacks), Arc::clone(&agreed));
                // Clients are expected to disconnect.
                tokio::spawn(async move { drop(serve(client, attack, &attacks, &agreed).await) });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}//", self.port)
    }

    /// Returns how many clients it has attacked.
    pub fn attacks(&self) -> u64 {
        self.attacks.load(Relaxed)
    }

    /// Returns the limits that its clients agreed to.
    pub fn agreed(&self) -> Vec<Tune> {
        self.agreed.lock().expect("no panic").clone()
    }
}

async fn serve(
    mut client: TcpStream,
    attack: Attack,
    attacks: &AtomicU64,
    agreed: &Mutex<Vec<Tune>>,
) -> std::io::Result<()> {
    let mut protocol = [0; 8];
    client.read_exact(&mut protocol).await?;
    let start = Conn::Start(Start {
        version_major: 0,
        version_minor: 9,
        server_properties: Default::default(),
        mechanisms: "PLAIN".into(),
        locales: "en_US".into(),
    });
    client
        .write_all(&method(0, AMQPClass::Connection(start)))
        .await?;
    loop {
        let (number, asked) = read_method(&mut client).await?;
        let is_consumer = matches!(&asked, AMQPClass::Basic(basic::AMQPMethod::Consume(_)));
        if let AMQPClass::Connection(Conn::TuneOk(ok)) = &asked {
            agreed.lock().expect("no panic").push(Tune {
                channel_max: ok.channel_max,
                frame_max: ok.frame_max,
                heartbeat: ok.heartbeat,
            });
        }
        if let Some(reply) = reply(asked, &attack.tune) {
            client.write_all(&method(number, reply)).await?;
        }
        if is_consumer {
            attacks.fetch_add(1, Relaxed);
            client.write_all(&attack.once).await?;
            while !attack.repeated.is_empty() {
                client.write_all(&attack.repeated).await?;
            }
        }
    }
}

/// Returns a broker's reply to a method.
fn reply(asked: AMQPClass, tune: &Tune) -> Option<AMQPClass> {
    use {basic::AMQPMethod as Basic, channel::AMQPMethod as Ch};
    use {exchange::AMQPMethod as Ex, queue::AMQPMethod as Queue};
    let basic = |method| Some(AMQPClass::Basic(method));
    let connection = |method| Some(AMQPClass::Connection(method));
    match asked {
        AMQPClass::Connection(Conn::StartOk(_)) => connection(Conn::Tune(tune.clone())),
        AMQPClass::Connection(Conn::Open(_)) => connection(Conn::OpenOk(OpenOk {})),
        AMQPClass::Connection(Conn::Close(_)) => connection(Conn::CloseOk(CloseOk {})),
        AMQPClass::Channel(Ch::Open(_)) => Some(AMQPClass::Channel(Ch::OpenOk(channel::OpenOk {}))),
        AMQPClass::Channel(Ch::Close(_)) => {
            Some(AMQPClass::Channel(Ch::CloseOk(channel::CloseOk {})))
        }
        AMQPClass::Exchange(_) => Some(AMQPClass::Exchange(Ex::DeclareOk(exchange::DeclareOk {}))),
        AMQPClass::Queue(Queue::Declare(asked)) => {
            Some(AMQPClass::Queue(Queue::DeclareOk(queue::DeclareOk {
                queue: asked.queue,
                message_count: 0,
                consumer_count: 0,
            })))
        }
        AMQPClass::Queue(_) => Some(AMQPClass::Queue(Queue::BindOk(queue::BindOk {}))),
        AMQPClass::Basic(Basic::Qos(_)) => basic(Basic::QosOk(basic::QosOk {})),
        AMQPClass::Basic(Basic::Consume(asked)) => basic(Basic::ConsumeOk(basic::ConsumeOk {
            consumer_tag: asked.consumer_tag,
        })),
        AMQPClass::Basic(Basic::Cancel(asked)) => basic(Basic::CancelOk(basic::CancelOk {
            consumer_tag: asked.consumer_tag,
        })),
        AMQPClass::Basic(_)
        | AMQPClass::Connection(_)
        | AMQPClass::Channel(_)
        | AMQPClass::Access(_)
        | AMQPClass::Tx(_)
        | AMQPClass::Confirm(_) => None,
    }
}
