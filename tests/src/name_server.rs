//! A name server for SRV records.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// A name server on the loopback that knows SRV records and nothing else. It ends with the value.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
    _task: AbortOnDropHandle<()>,
}

impl NameServer {
    /// Starts one without records.
    ///
    /// # Panics
    /// If the loopback has no free port.
    ///
    /// # Cancel safety
    /// If the future is dropped, there is no server.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let socket = socket.expect("the loopback has ports");
        let address = socket.local_addr().expect("it is bound");
        let records = Arc::default();
        let serving = serve(socket, Arc::clone(&records));
        Self {
            address,
            records,
            _task: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Where it answers, by UDP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Knows these records from now on, and no others: whose each is, its priority, its host and its
    /// port.
    ///
    /// # Panics
    /// If a name is none.
    pub fn set(&self, records: &[(&str, u16, &str, u16)]) {
        let name = |text: &str| Name::from_ascii(text).expect("a name");
        let records = records.iter().map(|&(owner, priority, host, port)| {
            let data = RData::SRV(SRV::new(priority, 0, port, name(host)));
            Record::from_rdata(name(owner), 60, data)
        });
        *self.records.lock() = records.collect();
    }
}

async fn serve(socket: UdpSocket, records: Arc<Mutex<Vec<Record>>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Ok(query) = Message::from_vec(&buffer[..length]) else {
            continue;
        };
        if let Ok(answer) = answer(&query, &records.lock()).to_vec() {
            drop(socket.try_send_to(&answer, from));
        }
    }
}

/// The answer to one question; a name without records does not exist.
fn answer(query: &Message, records: &[Record]) -> Message {
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.authoritative = true;
    for question in &query.queries {
        let found = records
            .iter()
            .filter(|record| record.name == *question.name());
        answer.add_answers(found.cloned());
        answer.add_query(question.clone());
    }
    if answer.answers.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer
}
