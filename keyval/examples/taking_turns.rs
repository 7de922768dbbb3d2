//! Two workers take turns at a table, and one of them leads: `cargo run -p keyval --example taking_turns`.

use std::time::Duration;

use keyval::recipes::{Election, Lock, Session};
use keyval::{Broker, BrokerExt, Memory, Op, Result, Txn};

#[tokio::main]
async fn main() -> Result<()> {
    let store = Memory::new();
    let (left, right) = tokio::join!(work(&store, "left"), work(&store, "right"));
    left?;
    right?;
    let table = store.get("table").await?.expect("both have written");
    println!("the table was written {} times", table.version);
    Ok(())
}

async fn work(store: &Memory, name: &'static str) -> Result<()> {
    // As long as this worker lives, so does its key.
    let session = Session::open(store.clone(), Duration::from_secs(10)).await?;
    session.put(format!("workers/{name}"), "here").await?;

    for _ in 0..3 {
        let turn = Lock::new(&session, "locks/table").acquire().await?;
        // Should the turn be lost without our knowing, the guard keeps the write out.
        let write = Txn::new().when(turn.guard()).then(Op::put("table", name));
        let written = store.commit(write).await?.succeeded;
        println!("{name:<5} has turn {}, written: {written}", turn.fence());
        turn.release().await?;
    }

    let leader = Election::new(&session, "leader").campaign(name).await?;
    println!("{name:<5} leads by token {}", leader.token());
    leader.resign().await?;
    // Its keys go at once.
    session.close().await
}
