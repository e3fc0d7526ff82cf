//! Schedulers of periodic tasks: whether a real beat that runs, stops, hangs or is replaced is seen as what it is.

use std::path::Path;

use rustix::process::Signal;

use super::support::celeriac::{Celeriac, Page};
use super::support::celery::Celery;
use super::support::process::Process;
use super::support::rabbitmq::RabbitMq;
use super::support::redis::Redis;

const UP: &str = "celery_beat_up";
const COUNT: &str = "celery_beats";

async fn start(url: &str) -> Celeriac {
    let keys = format!("url: {url:?}, control_interval: 1s");
    let celeriac = Celeriac::start(&format!("brokers: [{{{keys}}}]\n")).await;
    celeriac.ready().await;
    celeriac
}

/// Returns the numbers of online and offline beats, or -1 if they are not known.
fn counts(page: &Page) -> [f64; 2] {
    ["online", "offline"].map(|state| {
        let state = format!("state=\"{state}\"");
        let count = page.sum_known(COUNT, &[&state]);
        count.unwrap_or(-1.0)
    })
}

async fn wait(celeriac: &Celeriac, what: &str, expected: [f64; 2]) {
    let is_there = |page: &Page| counts(page) == expected;
    celeriac.page_when(what, 40, is_there).await;
}

/// Returns the kinds of problems that the status document lists.
async fn problems(celeriac: &Celeriac) -> Vec<String> {
    let status = celeriac.status().await;
    let problems = status["attention"].as_array().expect("a list").iter();
    let kinds = problems.map(|problem| problem["kind"].as_str().expect("a kind").to_owned());
    kinds.collect()
}

/// Starts a second beat, which sends each task again, and stops it.
async fn two_that_send(version: &str, url: &str) {
    // Without remote control, so that only what they send shows that they are two. A rhythm so short is believed after
    // twelve repetitions.
    let celery = Celery::new(version, url, "")
        .with("EVERY", "10")
        .with("REMOTE_CONTROL", "off");
    let celeriac = start(url).await;
    // Half an interval apart, they would look like processes that take turns.
    let (_first, second) = tokio::join!(
        celery.beat_with("periodic", &[]),
        celery.beat_with("periodic", &[])
    );
    let senders =
        |page: &Page| page.sum_known("celery_periodic_task_senders", &["name=\"periodic.tick\""]);
    celeriac
        .page_when("two senders", 240, |page| senders(page) == Some(2.0))
        .await;
    let twice = "periodic_task_sent_twice".to_owned();
    assert!(problems(&celeriac).await.contains(&twice));
    drop(second);
    celeriac
        .page_when("one to be left", 90, |page| senders(page).is_none())
        .await;
    assert!(!problems(&celeriac).await.contains(&twice));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_beats_that_send_on_rabbitmq_are_found() {
    let rabbitmq = RabbitMq::start().await;
    two_that_send("5.7", &rabbitmq.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_beats_that_send_on_redis_are_found() {
    let redis = Redis::start().await;
    two_that_send("5.6", &redis.url(0)).await;
}

/// Stops, resumes, replaces and doubles a beat.
async fn lives_of_a_beat(url: &str) {
    let celery = Celery::new("5.7", url, "");
    let _worker = celery.worker_of("periodic", "w", &["-E"]).await;
    let celeriac = start(url).await;
    let beat = celery.beat("periodic", "a").await;
    wait(&celeriac, "a beat", [1.0, 0.0]).await;
    let page = celeriac.page().await;
    assert_eq!(page.sum(UP, &["beat=\"celerybeat@a\""]), 1.0);
    assert!(!problems(&celeriac).await.contains(&"beat_down".to_owned()));

    beat.signal(Signal::STOP);
    wait(&celeriac, "it to be missed", [0.0, 1.0]).await;
    assert!(problems(&celeriac).await.contains(&"beat_down".to_owned()));
    beat.signal(Signal::CONT);
    wait(&celeriac, "it to answer again", [1.0, 0.0]).await;

    // A second one under another name, and on Redis one under the same name: on RabbitMQ, both would consume one queue,
    // and only one of them would get each ping.
    let other = celery.beat("periodic", "b").await;
    wait(&celeriac, "another beat", [2.0, 0.0]).await;
    if url.starts_with("redis") {
        let _twin = celery.beat("periodic", "a").await;
        wait(&celeriac, "a third process", [3.0, 0.0]).await;
    }
    drop(beat);
    wait(&celeriac, "one to be left", [1.0, 1.0]).await;
    assert!(!problems(&celeriac).await.contains(&"beat_down".to_owned()));
    drop(other);
    wait(&celeriac, "none to be left", [0.0, 2.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_on_rabbitmq_is_up_down_replaced_or_doubled() {
    let rabbitmq = RabbitMq::start().await;
    lives_of_a_beat(&rabbitmq.url("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_on_redis_is_up_down_replaced_or_doubled() {
    let redis = Redis::start().await;
    lives_of_a_beat(&redis.url(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beat_whose_schedule_does_not_advance_is_down_and_survives_a_restart() {
    let redis = Redis::start().await;
    let (folder, data) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let hang = folder.path().join("hang");
    let url = redis.url(0);
    let celery = Celery::new("5.7", &url, "").with("HANG", hang.to_str().expect("a path"));
    let _beat: Process = celery.beat("periodic", "a").await;
    let config = |data: &Path| {
        format!("data_dir: {data:?}\nbrokers: [{{url: {url:?}, control_interval: 1s}}]\n")
    };
    let mut celeriac = Celeriac::start(&config(data.path())).await;
    celeriac.ready().await;
    wait(&celeriac, "a beat", [1.0, 0.0]).await;
    std::fs::write(&hang, "").expect("a file");
    wait(&celeriac, "it to hang", [0.0, 1.0]).await;

    // While it hangs, nothing answers a daemon that restarts. It still knows of a beat.
    celeriac.process.signal(Signal::TERM);
    celeriac.process.ended(30);
    let celeriac = Celeriac::start(&config(data.path())).await;
    wait(&celeriac, "the beat from before", [0.0, 1.0]).await;
    std::fs::remove_file(&hang).expect("the file");
    wait(&celeriac, "it to tick again", [1.0, 0.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_setting_without_which_beat_does_not_answer() {
    let redis = Redis::start().await;
    let url = redis.url(0);
    let config = format!("brokers: [{{url: {url:?}}}]\nhttp: {{listen: '127.0.0.1:0'}}\n");
    let celery = Celery::new("5.7", &url, "").with("REMOTE_CONTROL", "off");
    let _worker = celery.worker_of("periodic", "w", &["-E"]).await;
    let silent = celery.beat_with("periodic", &[]).await;
    let output = Celeriac::doctor(&config).await;
    assert!(output.contains("no beat replied"), "{output}");
    assert!(
        output.contains("beat_enable_remote_control = True"),
        "{output}"
    );
    // And the daemon claims nothing about it.
    let celeriac = start(&url).await;
    celeriac
        .page_when("its tasks", 40, |page| {
            page.sum("celery_task_sent_total", &[]) >= 5.0
        })
        .await;
    assert_eq!(counts(&celeriac.page().await), [-1.0, -1.0]);
    drop(silent);

    let celery = Celery::new("5.7", &url, "");
    let _beat = celery.beat("periodic", "a").await;
    let output = Celeriac::doctor(&config).await;
    assert!(output.contains("replied: celerybeat@a"), "{output}");
}
