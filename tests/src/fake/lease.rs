//! Leases under the numbers that clients chose.

use std::time::Duration;

use async_trait::async_trait;
use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseService, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use futures::stream::{BoxStream, StreamExt};
use keyval::{Error, Leases};
use tonic::{Request, Response, Status, Streaming};

use crate::fake::server::FakeEtcd;
use crate::fake::wire;

#[async_trait]
impl PbLeaseService for FakeEtcd {
    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        self.ailing.answers_writes().await;
        let request = request.into_inner();
        let lease = wire::lease(request.id)
            .ok_or_else(|| Status::unimplemented("a lease whose number the server chooses"))?;
        if self.store.time_to_live(lease).await.is_ok() {
            return Err(Status::failed_precondition(
                "etcdserver: lease already exists",
            ));
        }
        let ttl = Duration::from_secs(wire::count(request.ttl));
        let grant = self.store.grant_as(lease, ttl).map_err(wire::status)?;
        Ok(Response::new(PbLeaseGrantResponse {
            header: Some(self.header().await?),
            id: request.id,
            ttl: wire::wire(grant.ttl.as_secs()),
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let lease = wire::granted(request.into_inner().id)?;
        self.store.revoke(lease).await.map_err(wire::status)?;
        Ok(Response::new(PbLeaseRevokeResponse {
            header: Some(self.header().await?),
        }))
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<PbLeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let server = self.clone();
        let replies = request.into_inner().then(move |asked| {
            let server = server.clone();
            async move { server.renew(asked?.id).await }
        });
        Ok(Response::new(replies.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let header = Some(self.header().await?);
        let gone = PbLeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl: -1,
            ..PbLeaseTimeToLiveResponse::default()
        };
        let lease = wire::granted(request.id)?;
        match self.store.time_to_live(lease).await {
            Ok(status) => Ok(Response::new(PbLeaseTimeToLiveResponse {
                header,
                id: request.id,
                ttl: wire::wire(status.remaining.as_secs()),
                granted_ttl: wire::wire(status.granted.as_secs()),
                keys: status
                    .keys
                    .into_iter()
                    .filter(|_| request.keys)
                    .map(|key| key.as_bytes().to_vec())
                    .collect(),
            })),
            Err(Error::LeaseLost { .. }) => Ok(Response::new(gone)),
            Err(error) => Err(wire::status(error)),
        }
    }

    async fn lease_leases(
        &self,
        _: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        Err(Status::unimplemented("unknown method LeaseLeases"))
    }
}

impl FakeEtcd {
    /// As etcd does, a lease that is gone is told by a TTL of zero.
    async fn renew(&self, number: i64) -> Result<PbLeaseKeepAliveResponse, Status> {
        let header = Some(self.header().await?);
        let ttl = match self.store.keep_alive(wire::granted(number)?).await {
            Ok(ttl) => wire::wire(ttl.as_secs()),
            Err(Error::LeaseLost { .. }) => 0,
            Err(error) => return Err(wire::status(error)),
        };
        Ok(PbLeaseKeepAliveResponse {
            header,
            id: number,
            ttl,
        })
    }
}
