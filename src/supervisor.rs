//! What the service manager is told: that the daemon is up, how it does, that it reloads or stops, and that it lives.
//!
//! These are the datagrams of `sd_notify(3)`, to the socket that the environment names as `NOTIFY_SOCKET`. Where it names
//! none, nothing is told. The watchdog gets its beats from the main task, and each only after the owner of all state has
//! answered: a runtime that stands still and an aggregator that hangs both end in a restart.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::telemetry::readiness::Readiness;

/// Asks the aggregator whether it is at work; it answers by the channel within.
pub type Question = oneshot::Sender<()>;

/// How often it looks whether the status is another one.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Who started the daemon, if that wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    listens: bool,
    /// After how long without a beat it thinks that the daemon hangs.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// What the environment says.
    pub fn from_environment() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = sd_notify::watchdog_enabled().filter(|period| listens && !period.is_zero());
        Self { listens, watchdog }
    }

    /// All stages run. Brokers and receivers may be down: what else is started must not wait for them.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// Up, and without work until another daemon is gone, which may take for ever.
    pub fn standing_by(&self) {
        let status = NotifyState::Status("standing by: another daemon has the data_dir");
        self.tell(&[NotifyState::Ready, status]);
    }

    /// The configuration is read again; [`ready`](Self::ready) tells when that is done.
    pub fn reloading(&self) {
        // The time is what `Type=notify-reload` wants: it tells this reload from one before.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// The drain has begun.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Keeps the status as it is, and the watchdog quiet, for as long as this is waited for. Without `questions` there is
    /// no aggregator yet, and nobody to ask.
    pub async fn keep_told(
        self,
        readiness: Option<Readiness>,
        questions: Option<mpsc::Sender<Question>>,
    ) -> Infallible {
        let statuses = async {
            match readiness.filter(|_| self.listens) {
                Some(readiness) => self.tell_status(&readiness).await,
                None => std::future::pending().await,
            }
        };
        let beats = async {
            match self.watchdog {
                Some(period) => {
                    beat(period, questions, || self.tell(&[NotifyState::Watchdog])).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = statuses => never,
            never = beats => never,
        }
    }

    async fn tell_status(&self, readiness: &Readiness) -> Infallible {
        let mut told = String::new();
        loop {
            let status = status(readiness);
            if status != told {
                self.tell(&[NotifyState::Status(&status)]);
                told = status;
            }
            tokio::time::sleep(STATUS_INTERVAL).await;
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if !self.listens {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            warn!(%error, "notifying the service manager failed");
        }
    }
}

/// Beats twice in a period, as `sd_watchdog_enabled(3)` asks for: each time when the aggregator has answered.
async fn beat(
    period: Duration,
    questions: Option<mpsc::Sender<Question>>,
    mut beat: impl FnMut(),
) -> Infallible {
    loop {
        tokio::time::sleep(period / 2).await;
        if let Some(questions) = &questions {
            let (question, answer) = oneshot::channel();
            // An aggregator that is gone has ended for the drain, which has a limit of its own.
            if questions.send(question).await.is_ok() {
                let _ = answer.await;
            }
        }
        beat();
    }
}

/// One line on how it does. A line feed in it would begin another message; reasons have none.
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

    /// The beats of two minutes.
    async fn beats(questions: Option<mpsc::Sender<Question>>) -> u32 {
        let mut count = 0;
        let beating = beat(PERIOD, questions, || count += 1);
        let ended = tokio::time::timeout(Duration::from_secs(121), beating).await;
        assert!(ended.is_err());
        count
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_while_the_aggregator_answers() {
        let (questions, mut asked) = mpsc::channel::<Question>(1);
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
