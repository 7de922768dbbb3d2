//! What holders of leases learn when the network fails at a moment of the test's choice.

use std::time::Duration;

use keyval::BrokerExt;
use keyval::recipes::{LossCause, Session, SessionOptions};
use keyval_tests::proxy::Way;
use keyval_tests::simulation::{config, connect, seed, simulate, works_again};
use tokio::time::{Instant, sleep};

#[test]
fn a_session_knows_that_its_lease_is_lost_before_the_server_ends_it() {
    simulate(seed(), |[member]| async move {
        let store = connect(&config([&member])).await;
        let ttl = Duration::from_secs(6);
        for way in [Way::ToServer, Way::ToClient, Way::Both] {
            // Through one round of renewals, which come at a third of the TTL.
            for moment in (0..6).map(|n| ttl / 3 + Duration::from_millis(n * 390)) {
                let at = format!("{way:?} {moment:?}");
                let options = SessionOptions::default().with_ttl(ttl).without_regrant();
                let session = Session::open_opts(store.clone(), options).await.unwrap();
                session.put("held", "").await.unwrap();
                sleep(moment).await;
                assert!(session.is_alive(), "{at}");
                let (cut, remaining) = (Instant::now(), session.remaining());
                member.lose(way);
                let cause = session.lost(session.lease()).await;
                assert!(matches!(cause, LossCause::Expired { .. }), "{at}: {cause}");
                let took = cut.elapsed();
                // A renewal may have been answered at the moment of the cut, and none is after it.
                assert!(took >= remaining, "{at}: {took:?} of {remaining:?}");
                assert!(took <= ttl, "{at}: {took:?}");
                let held = member.data().get("held").await.unwrap();
                assert!(held.is_some(), "{at}: the server was faster");
                sleep(ttl * 2).await;
                assert_eq!(member.data().get("held").await.unwrap(), None, "{at}");
                member.heal();
                works_again(&store).await;
            }
        }
    });
}
