//! Transactions: checked here, carried out whole by etcd.

use std::collections::BTreeSet;
use std::slice;

use etcd_client::proto::{PbResponseOp, PbTxnOpResponse};
use etcd_client::{Txn as EtcdTxn, TxnOp};
use futures::future::join_all;
use keyval::{
    Capabilities, Error, LeaseId, Lifetime, Op, OpReply, Outcome, Result, Revision, Txn, TxnReply,
};
use parking_lot::Mutex;

use crate::connection::Client;
use crate::convert;
use crate::error::{self, Call};
use crate::lease;

/// The leases granted for the operations of one branch: one entry per operation.
type Granted = Vec<Option<LeaseId>>;

/// Carries out a transaction.
///
/// # Errors
/// Those of [`Txn::check`], and those of its operations.
pub(crate) async fn commit(client: &Client, limits: &Capabilities, txn: &Txn) -> Result<TxnReply> {
    txn.check(limits)?;
    let then = grant_ttls(client, &txn.then).await?;
    let otherwise = match grant_ttls(client, &txn.otherwise).await {
        Ok(granted) => granted,
        Err(error) => {
            lease::give_back(client, then.into_iter().flatten()).await;
            return Err(error);
        }
    };
    let sent = send(client, txn, &then, &otherwise).await;
    match &sent {
        Ok(reply) if reply.succeeded => {
            lease::give_back(client, otherwise.into_iter().flatten()).await;
        }
        Ok(_) => lease::give_back(client, then.into_iter().flatten()).await,
        Err(error) if error.outcome() == Outcome::NotApplied => {
            lease::give_back(client, then.into_iter().chain(otherwise).flatten()).await;
        }
        Err(_) => {}
    }
    sent
}

/// Grants a lease for each put with a TTL; all or none.
async fn grant_ttls(client: &Client, ops: &[Op]) -> Result<Granted> {
    let mut granted = vec![None; ops.len()];
    for (at, op) in ops.iter().enumerate() {
        if let Op::Put(_, _, options) = op
            && let Lifetime::Ttl(ttl) = options.lifetime
        {
            match lease::grant_for_put(client, ttl).await {
                Ok(lease) => granted[at] = Some(lease),
                Err(error) => {
                    lease::give_back(client, granted.into_iter().flatten()).await;
                    return Err(error);
                }
            }
        }
    }
    Ok(granted)
}

async fn send(client: &Client, txn: &Txn, then: &Granted, otherwise: &Granted) -> Result<TxnReply> {
    let subject = Subject(txn);
    let call = if txn.is_read_only() {
        Call::read("commit", &subject)
    } else {
        Call::write("commit", &subject)
    };
    let leases = named_leases(txn, then, otherwise);
    let call = call
        .at(oldest_read(txn))
        .of_lease(leases.first().copied().filter(|_| leases.len() == 1))
        .of_size(txn.size())
        .of_count(longest(txn));
    // What etcd said stands, also where the time of the call ends while the lease is looked for.
    let refused = Mutex::new(None);
    let sent = client.call(call, |node| {
        let mut kv = node.kv.clone();
        let wire = wire_txn(txn, then, otherwise);
        let (endpoint, leases, refused) = (node.endpoint.clone(), &leases, &refused);
        async move {
            let sent = kv.txn(wire).await;
            if let Err(failure) = &sent
                && error::lease_lost(failure)
                && leases.len() > 1
            {
                *refused.lock() = Some(error::of_call(&call, &endpoint, error::copy(failure)));
                // Boxed, as it is rare, to keep every other transaction small.
                if let Some(lease) = Box::pin(first_lost(client, leases)).await {
                    *refused.lock() = Some(Error::LeaseLost { lease });
                }
            }
            sent
        }
    });
    let reply = match sent.await {
        Ok(reply) => reply.0,
        Err(failed) => return Err(refused.into_inner().unwrap_or(failed)),
    };
    let revision = convert::header_revision(reply.header.as_ref());
    let (ops, granted) = if reply.succeeded {
        (&txn.then, then)
    } else {
        (&txn.otherwise, otherwise)
    };
    if reply.responses.len() != ops.len() {
        let replies = reply.responses.len();
        let told = format_args!("{replies} replies to {} operations", ops.len());
        return Err(convert::malformed_after(call.unanswered(), told));
    }
    let replies = reply
        .responses
        .into_iter()
        .zip(ops.iter().zip(granted))
        .map(|(reply, (op, granted))| {
            op_reply(reply, op, *granted, revision).ok_or_else(|| {
                convert::malformed_after(call.unanswered(), "a reply to another operation")
            })
        })
        .collect::<Result<_>>()?;
    Ok(TxnReply {
        revision,
        succeeded: reply.succeeded,
        replies,
    })
}

/// The first of these leases that does not exist; none if all do, or it cannot be known now.
async fn first_lost(client: &Client, leases: &[LeaseId]) -> Option<LeaseId> {
    let each = leases.iter().map(slice::from_ref);
    let lost = each.map(|lease| lease::first_lost(client, lease));
    join_all(lost).await.into_iter().flatten().next()
}

fn wire_txn(txn: &Txn, then: &Granted, otherwise: &Granted) -> EtcdTxn {
    let compares: Vec<_> = txn.compares.iter().map(convert::compare).collect();
    EtcdTxn::new()
        .when(compares)
        .and_then(wire_ops(&txn.then, then))
        .or_else(wire_ops(&txn.otherwise, otherwise))
}

fn wire_ops(ops: &[Op], granted: &Granted) -> Vec<TxnOp> {
    ops.iter()
        .zip(granted)
        .map(|(op, granted)| match op {
            Op::Get(range, options) => convert::get_op(range, options),
            Op::Put(key, value, options) => convert::put_op(key, value, options, *granted),
            Op::Delete(range, options) => convert::delete_op(range, *options),
        })
        .collect()
}

fn op_reply(
    reply: PbResponseOp,
    op: &Op,
    granted: Option<LeaseId>,
    revision: Revision,
) -> Option<OpReply> {
    match (op, reply.response) {
        (Op::Get(_, options), Some(PbTxnOpResponse::ResponseRange(reply))) => Some(OpReply::Get(
            convert::range_reply(reply, options.projection),
        )),
        (Op::Put(..), Some(PbTxnOpResponse::ResponsePut(reply))) => {
            Some(OpReply::Put(convert::put_reply(reply, revision, granted)))
        }
        (Op::Delete(..), Some(PbTxnOpResponse::ResponseDeleteRange(reply))) => {
            Some(OpReply::Delete(convert::delete_reply(reply, revision)))
        }
        _ => None,
    }
}

/// The transaction as an error shows it: by the first key that it touches.
struct Subject<'a>(&'a Txn);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ops = self.0.then.len() + self.0.otherwise.len();
        match self.0.then.iter().chain(&self.0.otherwise).next() {
            Some(Op::Get(range, _) | Op::Delete(range, _)) => write!(f, "{range}")?,
            Some(Op::Put(key, ..)) => write!(f, "{key}")?,
            None => {}
        }
        if ops > 1 {
            write!(f, " and {} more", ops - 1)?;
        }
        Ok(())
    }
}

fn oldest_read(txn: &Txn) -> Option<Revision> {
    txn.then
        .iter()
        .chain(&txn.otherwise)
        .filter_map(|op| match op {
            Op::Get(_, options) => options.at,
            _ => None,
        })
        .min()
}

/// The leases of its puts, each once. If there is more than one, etcd does not say which of them it
/// does not know.
fn named_leases(txn: &Txn, then: &Granted, otherwise: &Granted) -> Vec<LeaseId> {
    let ops = txn.then.iter().chain(&txn.otherwise);
    let named = ops.filter_map(|op| match op {
        Op::Put(_, _, options) => match options.lifetime {
            Lifetime::Lease(lease) => Some(lease),
            _ => None,
        },
        _ => None,
    });
    let granted = then.iter().chain(otherwise).flatten().copied();
    named
        .chain(granted)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

fn longest(txn: &Txn) -> usize {
    txn.compares
        .len()
        .max(txn.then.len())
        .max(txn.otherwise.len())
}
