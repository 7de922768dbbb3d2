//! The status, and a snapshot that is none of the store's; nothing else of maintenance is asked of
//! this server.

use async_trait::async_trait;
use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse,
    PbMaintenanceService, PbMoveLeaderRequest, PbMoveLeaderResponse, PbSnapshotRequest,
    PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use crate::fake::server::FakeEtcd;

/// How much of a snapshot etcd sends at a time.
const PART: usize = 32 * 1024;

fn unknown<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("unknown method"))
}

#[async_trait]
impl PbMaintenanceService for FakeEtcd {
    async fn status(
        &self,
        _: Request<PbStatusRequest>,
    ) -> Result<Response<PbStatusResponse>, Status> {
        let header = self.header().await?;
        Ok(Response::new(PbStatusResponse {
            header: Some(header),
            // Not measured; an etcd takes a page at least.
            db_size: 4096,
            version: self.version.to_owned(),
            leader: u64::from(self.ailing.knows_leader()),
            ..PbStatusResponse::default()
        }))
    }

    async fn alarm(&self, _: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        Ok(Response::new(PbAlarmResponse {
            header: Some(self.header().await?),
            ..PbAlarmResponse::default()
        }))
    }

    async fn defragment(
        &self,
        _: Request<PbDefragmentRequest>,
    ) -> Result<Response<PbDefragmentResponse>, Status> {
        unknown()
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        unknown()
    }

    async fn hash_kv(
        &self,
        _: Request<PbHashKvRequest>,
    ) -> Result<Response<PbHashKvResponse>, Status> {
        unknown()
    }

    type SnapshotStream = BoxStream<'static, Result<PbSnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        _: Request<PbSnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let parts: Vec<_> = self
            .snapshot
            .chunks(PART)
            .map(|part| {
                Ok(PbSnapshotResponse {
                    blob: part.to_vec(),
                    ..PbSnapshotResponse::default()
                })
            })
            .collect();
        Ok(Response::new(stream::iter(parts).boxed()))
    }

    async fn move_leader(
        &self,
        _: Request<PbMoveLeaderRequest>,
    ) -> Result<Response<PbMoveLeaderResponse>, Status> {
        unknown()
    }

    async fn downgrade(
        &self,
        _: Request<PbDowngradeRequest>,
    ) -> Result<Response<PbDowngradeResponse>, Status> {
        unknown()
    }
}
