//! A publisher of events on RabbitMQ.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};

pub struct Publisher {
    /// Ends the connection when it is dropped.
    _connection: Connection,
    pub channel: Channel,
}

impl Publisher {
    /// Declares the event exchange as Celery does.
    pub async fn new(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel
            .exchange_declare("celeryev".into(), ExchangeKind::Topic, options, FieldTable::default())
            .await;
        declared.expect("the exchange");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Self { _connection: connection, channel }
    }

    pub async fn publish(&self, body: &[u8]) {
        self.publish_as(body, Some("application/json")).await;
    }

    /// Returns when the broker has it.
    pub async fn publish_as(&self, body: &[u8], content_type: Option<&str>) {
        let mut properties = BasicProperties::default().with_delivery_mode(1);
        if let Some(content_type) = content_type {
            properties = properties.with_content_type(content_type.into());
        }
        let sent = self.send(body, properties).await;
        assert!(matches!(sent.await.expect("a confirm"), Confirmation::Ack(_)));
    }

    /// Publishes many, and waits for the broker every thousand.
    pub async fn flood<'a>(&self, bodies: impl Iterator<Item = &'a [u8]>) {
        let properties = BasicProperties::default().with_delivery_mode(1).with_content_type("application/json".into());
        let mut waiting = Vec::new();
        for body in bodies {
            waiting.push(self.send(body, properties.clone()).await);
            if waiting.len() >= 1000 {
                for sent in waiting.drain(..) {
                    sent.await.expect("a confirm");
                }
            }
        }
        for sent in waiting {
            sent.await.expect("a confirm");
        }
    }

    async fn send(&self, body: &[u8], properties: BasicProperties) -> impl Future<Output = lapin::Result<Confirmation>> {
        let options = BasicPublishOptions::default();
        let publishing =
            self.channel.basic_publish("celeryev".into(), "task.multi".into(), options, body, properties);
        publishing.await.expect("a connection")
    }
}
