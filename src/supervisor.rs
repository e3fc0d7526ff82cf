//! Notifies the service manager: ready, status, reloading, stopping, and the watchdog.
//!
//! The notifications are the datagrams of `sd_notify(3)`, sent to the socket named by
//! `NOTIFY_SOCKET`. Without that variable nothing is sent. The main task feeds the watchdog, but
//! only after the aggregator has answered a ping, so both a blocked runtime and a hung aggregator
//! lead to a restart.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::telemetry::readiness::Readiness;

/// Asks the aggregator whether it is alive; it answers through the channel.
pub type LivenessPing = oneshot::Sender<()>;

/// How often to check whether the status has changed.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to the service manager, if there is one that accepts notifications.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    listens: bool,
    /// How long the watchdog waits for a notification before it considers the daemon hung.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Reads the settings from the environment.
    pub fn from_environment() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = sd_notify::watchdog_enabled().filter(|period| listens && !period.is_zero());
        Self { listens, watchdog }
    }

    /// Reports that all stages run. Does not wait for brokers and receivers, because services that
    /// depend on celeriac should not have to.
    pub fn ready(&self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// Reports that the daemon is up but standing by until another daemon stops, which may never
    /// happen.
    pub fn standing_by(&self) {
        let status = NotifyState::Status("standing by: data_dir is in use by another daemon");
        self.notify(&[NotifyState::Ready, status]);
    }

    /// Reports that the configuration is being reloaded; [`ready`](Self::ready) reports the end.
    pub fn reloading(&self) {
        // `Type=notify-reload` requires the time, to distinguish this reload from an earlier one.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]),
            Err(_) => self.notify(&[NotifyState::Reloading]),
        }
    }

    /// Reports that shutdown has started.
    pub fn stopping(&self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Keeps the status up to date and feeds the watchdog for as long as this future is polled.
    /// Without `questions`, there is no aggregator to ask yet.
    pub async fn keep_notified(
        self,
        readiness: Option<Readiness>,
        questions: Option<mpsc::Sender<LivenessPing>>,
    ) -> Infallible {
        let statuses = async {
            match readiness.filter(|_| self.listens) {
                Some(readiness) => self.report_status(&readiness).await,
                None => std::future::pending().await,
            }
        };
        let beats = async {
            match self.watchdog {
                Some(period) => {
                    beat(period, questions, || self.notify(&[NotifyState::Watchdog])).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = statuses => never,
            never = beats => never,
        }
    }

    async fn report_status(&self, readiness: &Readiness) -> Infallible {
        let mut last = String::new();
        loop {
            let status = status(readiness);
            if status != last {
                self.notify(&[NotifyState::Status(&status)]);
                last = status;
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    fn notify(&self, states: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            warn!(%error, "notifying the service manager failed");
        }
    }
}

/// Feeds the watchdog twice per period, as `sd_watchdog_enabled(3)` recommends, each time after the
/// aggregator has answered.
async fn beat(
    period: Duration,
    questions: Option<mpsc::Sender<LivenessPing>>,
    mut beat: impl FnMut(),
) -> Infallible {
    loop {
        tokio::time::sleep(period / 2).await;
        if let Some(questions) = &questions {
            let (question, answer) = oneshot::channel();
            // If the aggregator is gone, the daemon is draining, which has its own time limit.
            if questions.send(question).await.is_ok() {
                let _ = answer.await;
            }
        }
        beat();
    }
}

/// Returns a one-line status. A line feed would start another notification field, but reasons
/// contain none.
fn status(readiness: &Readiness) -> String {
    let (reasons, all) = (readiness.reasons(), readiness.stages());
    let Some(reason) = reasons.first() else {
        return format!("{all} of {all} brokers and receivers work");
    };
    let work = all - reasons.len();
    format!("{work} of {all} brokers and receivers work; {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    /// Counts the watchdog notifications in two minutes.
    async fn beats(questions: Option<mpsc::Sender<LivenessPing>>) -> u32 {
        let mut count = 0;
        let beating = beat(PERIOD, questions, || count += 1);
        let ended = tokio::time::timeout(Duration::from_secs(121), beating).await;
        assert!(ended.is_err());
        count
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_while_the_aggregator_answers() {
        let (questions, mut asked) = mpsc::channel::<LivenessPing>(1);
        let answering = async {
            while let Some(question) = asked.recv().await {
                question.send(()).expect("somebody waits");
            }
        };
        let (count, ()) = tokio::join!(beats(Some(questions)), answering);
        assert_eq!(count, 8);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_silent_while_the_aggregator_hangs() {
        let (questions, asked) = mpsc::channel(1);
        assert_eq!(beats(Some(questions.clone())).await, 0);
        drop(asked);
        assert_eq!(beats(Some(questions)).await, 8, "the drain");
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_before_there_is_an_aggregator() {
        assert_eq!(beats(None).await, 8);
    }

    #[test]
    fn the_status_is_one_line() {
        let mut readiness = Readiness::default();
        let broker = readiness.stage("broker main", "not subscribed yet");
        let sink = readiness.stage("remote_write main", "nothing sent yet");
        broker.waiting("refused:\nSTOPPING=1");
        assert_eq!(
            status(&readiness),
            "0 of 2 brokers and receivers work; broker main: refused:\\nSTOPPING=1"
        );
        broker.ready();
        sink.ready();
        assert_eq!(status(&readiness), "2 of 2 brokers and receivers work");
    }
}
