//! Transactions: checked here, carried out whole by etcd.

use etcd_client::proto::{PbResponseOp, PbTxnOpResponse};
use etcd_client::{Txn as EtcdTxn, TxnOp};
use keyval::{
    Capabilities, LeaseId, Lifetime, Op, OpReply, Outcome, Result, Revision, Txn, TxnReply,
};

use crate::connection::Client;
use crate::convert;
use crate::error::Call;
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
    let sent = send(client, limits, txn, &then, &otherwise).await;
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
            match lease::grant(client, ttl).await {
                Ok(lease) => granted[at] = Some(lease.id),
                Err(error) => {
                    lease::give_back(client, granted.into_iter().flatten()).await;
                    return Err(error);
                }
            }
        }
    }
    Ok(granted)
}

async fn send(
    client: &Client,
    limits: &Capabilities,
    txn: &Txn,
    then: &Granted,
    otherwise: &Granted,
) -> Result<TxnReply> {
    let subject = Subject(txn);
    let call = Call {
        writes: !txn.is_read_only(),
        ..Call::read("commit", &subject)
    };
    let call = call
        .at(oldest_read(txn))
        .of_lease(first_lease(txn))
        .of_size(txn.size(), limits.max_request_bytes.unwrap_or(usize::MAX))
        .of_count(longest(txn), limits.max_txn_ops.unwrap_or(usize::MAX));
    let reply = client
        .call(call, |node| {
            let mut kv = node.kv.clone();
            let wire = wire_txn(txn, then, otherwise);
            async move { kv.txn(wire).await }
        })
        .await?
        .0;
    let revision = convert::header_revision(reply.header.as_ref());
    let (ops, granted) = if reply.succeeded {
        (&txn.then, then)
    } else {
        (&txn.otherwise, otherwise)
    };
    if reply.responses.len() != ops.len() {
        return Err(convert::malformed(format_args!(
            "{} replies to {} operations",
            reply.responses.len(),
            ops.len()
        )));
    }
    let replies = reply
        .responses
        .into_iter()
        .zip(ops.iter().zip(granted))
        .map(|(reply, (op, granted))| op_reply(reply, op, *granted, revision))
        .collect::<Result<_>>()?;
    Ok(TxnReply {
        revision,
        succeeded: reply.succeeded,
        replies,
    })
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
) -> Result<OpReply> {
    match (op, reply.response) {
        (Op::Get(_, options), Some(PbTxnOpResponse::ResponseRange(reply))) => Ok(OpReply::Get(
            convert::range_reply(reply, options.projection),
        )),
        (Op::Put(..), Some(PbTxnOpResponse::ResponsePut(reply))) => {
            Ok(OpReply::Put(convert::put_reply(reply, revision, granted)))
        }
        (Op::Delete(..), Some(PbTxnOpResponse::ResponseDeleteRange(reply))) => {
            Ok(OpReply::Delete(convert::delete_reply(reply, revision)))
        }
        _ => Err(convert::malformed("a reply to another operation")),
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

/// etcd does not say which lease it does not know; that of the first put is the best guess.
fn first_lease(txn: &Txn) -> Option<LeaseId> {
    txn.then
        .iter()
        .chain(&txn.otherwise)
        .find_map(|op| match op {
            Op::Put(_, _, options) => match options.lifetime {
                Lifetime::Lease(lease) => Some(lease),
                _ => None,
            },
            _ => None,
        })
}

fn longest(txn: &Txn) -> usize {
    txn.compares
        .len()
        .max(txn.then.len())
        .max(txn.otherwise.len())
}
