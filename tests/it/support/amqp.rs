//! A publisher of events on RabbitMQ.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};

pub struct Publisher {
    connection: Connection,
    pub channel: Channel,
}

impl Publisher {
    /// Declares the event exchange as Celery does.
    pub async fn new(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default())
            .await
            .expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let declared = channel
            .exchange_declare(
                "celeryev".into(),
                ExchangeKind::Topic,
                options,
                FieldTable::default(),
            )
            .await;
        declared.expect("the exchange");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        Self {
            connection,
            channel,
        }
    }

    pub async fn publish(&self, body: &[u8]) {
        self.publish_as(body, Some("application/json")).await;
    }

    /// Publishes a body, and returns when the broker has confirmed it.
    pub async fn publish_as(&self, body: &[u8], content_type: Option<&str>) {
        let mut properties = BasicProperties::default().with_delivery_mode(1);
        if let Some(content_type) = content_type {
            properties = properties.with_content_type(content_type.into());
        }
        self.publish_with(body, properties).await;
    }

    /// Publishes a JSON body that is compressed, with Kombu's name for the compression.
    pub async fn publish_compressed(&self, body: &[u8], compression: &str) {
        let mut headers = FieldTable::default();
        let compression = AMQPValue::LongString(compression.into());
        headers.insert("compression".into(), compression);
        let properties = BasicProperties::default()
            .with_delivery_mode(1)
            .with_content_type("application/json".into())
            .with_headers(headers);
        self.publish_with(body, properties).await;
    }

    async fn publish_with(&self, body: &[u8], properties: BasicProperties) {
        let sent = send(&self.channel, body, properties).await;
        assert!(matches!(
            sent.await.expect("a confirm"),
            Confirmation::Ack(_)
        ));
    }

    /// Publishes bodies as fast as the broker accepts them, without waiting for each confirmation.
    pub async fn flood<'a>(&self, bodies: impl Iterator<Item = &'a [u8]>) {
        let channel = self.connection.create_channel().await.expect("a channel");
        let properties = BasicProperties::default()
            .with_delivery_mode(1)
            .with_content_type("application/json".into());
        for body in bodies {
            send(&channel, body, properties.clone())
                .await
                .await
                .expect("a connection");
        }
    }
}

async fn send(
    channel: &Channel,
    body: &[u8],
    properties: BasicProperties,
) -> impl Future<Output = lapin::Result<Confirmation>> {
    let (exchange, key) = ("celeryev".into(), "task.multi".into());
    let options = BasicPublishOptions::default();
    let publishing = channel.basic_publish(exchange, key, options, body, properties);
    publishing.await.expect("a connection")
}
