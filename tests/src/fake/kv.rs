//! Reads, writes and transactions.

use async_trait::async_trait;
use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService,
    PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse,
    PbResponseOp, PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use futures::stream::BoxStream;
use keyval::{Broker, KeyRange, Maintenance, Op, OpReply, Projection, Revision, Txn};
use tonic::{Request, Response, Status};

use crate::fake::server::FakeEtcd;
use crate::fake::wire;

#[async_trait]
impl PbKvService for FakeEtcd {
    async fn range(
        &self,
        request: Request<PbRangeRequest>,
    ) -> Result<Response<PbRangeResponse>, Status> {
        self.ailing.answers_reads().await;
        let request = request.into_inner();
        let options = wire::list_options(&request);
        let range = wire::range(request.key, request.range_end);
        let header = self.header().await?;
        if range.is_empty() {
            let none = wire::range_reply(&[], 0, header);
            return Ok(Response::new(none));
        }
        let listing = self
            .store
            .list_opts(&range, options)
            .await
            .map_err(wire::status)?;
        // A read of the past is answered with the present in its header.
        let header = if options.at.is_some() {
            header
        } else {
            wire::header(listing.revision)
        };
        let at = listing.revision;
        let all = match listing.count {
            Some(count) => count,
            None => self.count(&range, at).await?,
        };
        let entries = listing.collect().await.map_err(wire::status)?;
        let reply = wire::range_reply(&entries, all, header);
        Ok(Response::new(reply))
    }

    type RangeStreamStream = BoxStream<'static, Result<PbRangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("unknown method RangeStream"))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        self.ailing.answers_writes().await;
        let request = request.into_inner();
        let options = wire::put_options(&request)?;
        let reply = self
            .store
            .put_opts(&request.key.into(), request.value.into(), options)
            .await
            .map_err(wire::status)?;
        let header = wire::header(reply.revision);
        let reply = wire::put_reply(&reply, header);
        Ok(Response::new(reply))
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        self.ailing.answers_writes().await;
        let request = request.into_inner();
        let options = wire::delete_options(&request);
        let range = wire::range(request.key, request.range_end);
        let reply = self
            .store
            .delete_opts(&range, options)
            .await
            .map_err(wire::status)?;
        let header = wire::header(reply.revision);
        let reply = wire::delete_reply(&reply, header);
        Ok(Response::new(reply))
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        self.ailing.answers_writes().await;
        let txn = transaction(request.into_inner())?;
        let reply = self.store.commit(txn).await.map_err(wire::status)?;
        let header = wire::header(reply.revision);
        let responses = reply
            .replies
            .into_iter()
            .map(|reply| {
                let response = match reply {
                    OpReply::Get(reply) => {
                        let all = reply.count.unwrap_or(reply.entries.len() as u64);
                        let reply = wire::range_reply(&reply.entries, all, header);
                        PbTxnOpResponse::ResponseRange(reply)
                    }
                    OpReply::Put(reply) => {
                        PbTxnOpResponse::ResponsePut(wire::put_reply(&reply, header))
                    }
                    OpReply::Delete(reply) => {
                        PbTxnOpResponse::ResponseDeleteRange(wire::delete_reply(&reply, header))
                    }
                };
                PbResponseOp {
                    response: Some(response),
                }
            })
            .collect();
        Ok(Response::new(PbTxnResponse {
            header: Some(header),
            succeeded: reply.succeeded,
            responses,
        }))
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        let to = Revision::new(wire::count(request.into_inner().revision));
        self.store.compact(to).await.map_err(wire::status)?;
        Ok(Response::new(PbCompactionResponse {
            header: Some(self.header().await?),
        }))
    }
}

impl FakeEtcd {
    async fn count(&self, range: &KeyRange, at: Revision) -> Result<u64, Status> {
        let options = keyval::ListOptions::default().at(at).count_only();
        let listing = self
            .store
            .list_opts(range, options)
            .await
            .map_err(wire::status)?;
        Ok(listing.count.unwrap_or_default())
    }
}

fn transaction(request: PbTxnRequest) -> Result<Txn, Status> {
    let mut txn = Txn::new();
    for compare in request.compare {
        txn = txn.when(wire::compare(compare)?);
    }
    for op in request.success {
        txn = txn.then(operation(op)?);
    }
    for op in request.failure {
        txn = txn.otherwise(operation(op)?);
    }
    Ok(txn)
}

fn operation(op: PbTxnRequestOp) -> Result<Op, Status> {
    match op.request {
        Some(PbTxnOpRequest::RequestRange(request)) => {
            let options = wire::list_options(&request);
            debug_assert!(options.projection != Projection::Count || request.count_only);
            Ok(Op::Get(
                wire::range(request.key, request.range_end),
                options,
            ))
        }
        Some(PbTxnOpRequest::RequestPut(request)) => {
            let options = wire::put_options(&request)?;
            Ok(Op::Put(request.key.into(), request.value.into(), options))
        }
        Some(PbTxnOpRequest::RequestDeleteRange(request)) => {
            let options = wire::delete_options(&request);
            Ok(Op::Delete(
                wire::range(request.key, request.range_end),
                options,
            ))
        }
        Some(PbTxnOpRequest::RequestTxn(_)) | None => {
            Err(Status::unimplemented("a transaction within a transaction"))
        }
    }
}
