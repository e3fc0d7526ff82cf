//! Receivers that answer with 429, 5xx, or nonsense.

use super::*;

/// Few enough that the receivers, which check every sample of every attempt, keep up on a busy machine.
const NAMES: u64 = 10;

fn breaks(series: &str) -> bool {
    series.starts_with("celery_task_succeeded_total{") && series.contains("\"task.7\"")
}

/// Run concurrently, because each of them waits for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn errors_are_an_outage_unless_others_are_accepted() {
    tokio::join!(
        a_series_that_breaks_the_receiver_does_not_block_the_others(FIRST),
        a_series_that_breaks_the_receiver_does_not_block_the_others(SECOND),
        an_outage_of_one_family_for_a_minute_and_a_half_loses_nothing(),
        an_outage_of_everything_but_empty_requests_loses_nothing(),
    );
}

async fn a_series_that_breaks_the_receiver_does_not_block_the_others(message: &str) {
    let mut setting = Setting::start_small(message, 20).await;
    setting.publish(NAMES).await;
    setting.arrived(&setting.ill, NAMES - 1).await;
    setting.ill.behave(|behaviour| {
        behaviour.may_give_up = true;
        behaviour.breaks_on = Some(Box::new(breaks));
    });
    let broken = Instant::now();
    setting.publish(NAMES).await;
    setting.beside_is_not_delayed().await;
    // For two minutes it counts as an outage: nothing is lost or reordered.
    let samples = setting.ill.samples();
    while broken.elapsed() < Duration::from_secs(110) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let page = setting.celeriac.page().await;
        assert_eq!(of(&page, "ill", "failed_total"), 0.0, "{message}");
        let (status, _) = setting.celeriac.get("/-/ready").await;
        assert!(status == 503 || broken.elapsed() < Duration::from_secs(10));
    }
    // At most the rest of one snapshot, in small requests.
    let since = setting.ill.samples() - samples;
    assert!(since < 3_000, "{since} samples overtook");
    let found = |page: &Page| {
        of(page, "ill", "failed_total") > 0.0
            && page.sum("celeriac_remote_storage_series_quarantined", &["ill"]) == 1.0
    };
    let page = setting
        .celeriac
        .page_when("the series to be found", 90, found);
    assert!(of(&page.await, "ill", "retried_total") > 0.0);
    setting.arrived(&setting.ill, NAMES - 1).await;
    assert_eq!(setting.celeriac.get("/-/ready").await.0, 200);
    setting.ill.behave(|behaviour| behaviour.breaks_on = None);
    setting.arrived(&setting.ill, 7).await;
    let page = setting.settled().await;
    assert_eq!(of(&page, "ill", "dropped_total"), 0.0);
    setting.no_violation();
    let missing = setting.missing().await;
    assert!(missing.keys().all(|series| breaks(series)), "{missing:?}");
}

async fn an_outage_of_one_family_for_a_minute_and_a_half_loses_nothing() {
    let mut setting = Setting::start(FIRST, "").await;
    setting.publish(NAMES).await;
    setting.arrived(&setting.ill, NAMES - 1).await;
    let family = |series: &str| series.starts_with("celery_task_succeeded_total{");
    setting
        .ill
        .behave(|behaviour| behaviour.breaks_on = Some(Box::new(family)));
    tokio::time::sleep(Duration::from_secs(90)).await;
    setting.publish(NAMES).await;
    setting.beside_is_not_delayed().await;
    setting.ill.behave(|behaviour| behaviour.breaks_on = None);
    setting.arrived(&setting.ill, NAMES - 1).await;
    let page = setting.nothing_is_lost().await;
    assert!(of(&page, "ill", "retried_total") > 0.0);
    assert_eq!(setting.missing().await, BTreeMap::new());
}

async fn an_outage_of_everything_but_empty_requests_loses_nothing() {
    let mut setting = Setting::start(SECOND, "").await;
    setting.publish(NAMES).await;
    setting.arrived(&setting.ill, NAMES - 1).await;
    setting.ill.behave(|behaviour| {
        behaviour.may_give_up = true;
        behaviour.breaks_on = Some(Box::new(|_| true));
    });
    tokio::time::sleep(Duration::from_secs(180)).await;
    setting.publish(NAMES).await;
    setting.beside_is_not_delayed().await;
    setting.ill.behave(|behaviour| behaviour.breaks_on = None);
    setting.arrived(&setting.ill, NAMES - 1).await;
    setting.nothing_is_lost().await;
    assert_eq!(setting.missing().await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exceeds_a_limit_on_bursts_comes_in_parts() {
    let mut setting = Setting::start(SECOND, "").await;
    setting
        .ill
        .behave(|behaviour| behaviour.samples_taken = Some((2_500, 429)));
    setting.publish(40).await;
    setting.beside_is_not_delayed().await;
    setting.arrived(&setting.ill, 39).await;
    let small = |page: &Page| {
        let max = |sink| page.sum("celeriac_remote_storage_max_samples_per_send", &[sink]);
        (max("ill"), max("beside")) == (2_000.0, 10_000.0)
    };
    setting
        .celeriac
        .page_when("small requests", 20, small)
        .await;
    setting.nothing_is_lost().await;
    assert_eq!(setting.missing().await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_is_one_whatever_its_body_says() {
    for message in [FIRST, SECOND] {
        let mut setting = Setting::start(message, "").await;
        setting
            .ill
            .answer(&[200, 201, 202, 299].map(Answer::Status));
        for _ in 0..3 {
            setting.publish(1).await;
            setting.beside_is_not_delayed().await;
            setting.arrived(&setting.ill, 0).await;
        }
        let page = setting.nothing_is_lost().await;
        assert_eq!(of(&page, "ill", "retried_total"), 0.0);
        assert_eq!(setting.missing().await, BTreeMap::new(), "{message}");
    }
}
