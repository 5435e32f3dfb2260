//! The bytes of the sync protocol: a big-endian u32 length, then one borsh value. Lengths are checked before anything
//! is read for them, and a value with trailing bytes does not decode.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

use super::protocol::{MAX_REQUEST_LEN, MAX_RESPONSE_LEN, Malformed, Request, Response};

const PREFIX: usize = 4;

/// Bytes that the sync protocol has moved, without the transport's own.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Returns the bytes sent since the start.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the bytes received since the start.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Reads and writes messages. A malformed message is a value, not an error, so that the swarm learns who sent it:
/// libp2p only closes the stream on an error of a codec.
#[derive(Debug, Clone, Default)]
pub(super) struct SyncCodec {
    traffic: Arc<Traffic>,
}

impl SyncCodec {
    pub fn new(traffic: Arc<Traffic>) -> Self {
        Self { traffic }
    }

    async fn read<T, M>(&self, io: &mut T, max: usize) -> io::Result<Result<M, Malformed>>
    where
        T: AsyncRead + Unpin + Send,
        M: BorshDeserialize,
    {
        let mut prefix = [0; PREFIX];
        io.read_exact(&mut prefix).await?;
        let len = u32::from_be_bytes(prefix);
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= max) else {
            return Ok(Err(Malformed::TooLong(len.into(), max)));
        };
        let mut frame = vec![0; len];
        io.read_exact(&mut frame).await?;
        self.traffic.received.fetch_add(counted(len), Ordering::Relaxed);
        Ok(M::try_from_slice(&frame).map_err(|e| Malformed::Undecodable(e.to_string())))
    }

    async fn write<T, M>(&self, io: &mut T, message: Result<M, Malformed>, max: usize) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
        M: BorshSerialize,
    {
        let frame = message.map_err(io::Error::other).and_then(|message| borsh::to_vec(&message))?;
        let len = u32::try_from(frame.len()).ok().filter(|_| frame.len() <= max);
        let len = len.ok_or_else(|| io::Error::other(Malformed::TooLong(counted(frame.len()), max)))?;
        io.write_all(&len.to_be_bytes()).await?;
        io.write_all(&frame).await?;
        io.close().await?;
        self.traffic.sent.fetch_add(counted(frame.len()), Ordering::Relaxed);
        Ok(())
    }
}

fn counted(len: usize) -> u64 {
    (PREFIX + len) as u64 // usize is at most 64 bits
}

impl request_response::Codec for SyncCodec {
    type Protocol = StreamProtocol;
    type Request = Result<Request, Malformed>;
    type Response = Result<Response, Malformed>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Self::Request> {
        let request = self.read::<T, Request>(io, MAX_REQUEST_LEN).await?;
        Ok(request.and_then(|request| request.check().map(|()| request)))
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Self::Response> {
        let response = self.read::<T, Response>(io, MAX_RESPONSE_LEN).await?;
        Ok(response.and_then(|response| response.check().map(|()| response)))
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Self::Request,
    ) -> io::Result<()> {
        self.write(io, request, MAX_REQUEST_LEN).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Self::Response,
    ) -> io::Result<()> {
        self.write(io, response, MAX_RESPONSE_LEN).await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;
    use crate::net::protocol::{Delivery, MAX_PUT, Names, WireCursor};
    use exchange_ledger::ids::{MailboxId, StateHash};
    use exchange_ledger::sync;
    use exchange_ledger::sync::message::MAX_HEADS;
    use libp2p::request_response::Codec;

    fn names() -> Names {
        Names::new(*b"test")
    }

    async fn decode(bytes: Vec<u8>) -> io::Result<Result<Request, Malformed>> {
        SyncCodec::default().read_request(&names().sync, &mut Cursor::new(bytes)).await
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    }

    #[tokio::test]
    async fn a_request_survives_the_wire_and_is_counted() {
        let request = Request::Ledger(sync::Request::Heads { after: None, limit: 7 });
        let codec = SyncCodec::default();
        let mut wire = Cursor::new(Vec::new());
        codec.clone().write_request(&names().sync, &mut wire, Ok(request.clone())).await.unwrap();
        let wire = wire.into_inner();
        assert_eq!(codec.traffic.sent(), u64::try_from(wire.len()).unwrap());
        assert_eq!(decode(wire).await.unwrap(), Ok(request));
    }

    /// The outer codes and the length are the node's own; what stands behind them is compared where it is defined.
    #[tokio::test]
    async fn frames_are_as_published() {
        let file = include_str!("../../../specs/vectors/sync.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let published = |kind: &str| -> Vec<(String, String)> {
            let frames = file["frames"][kind].as_array().unwrap().iter();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            frames.map(|frame| (text(&frame["name"]), text(&frame["bytes"]))).collect()
        };
        let (names, mut codec, envelope) = (names(), SyncCodec::default(), vec![0xaa, 0xbb, 0xcc]);
        let requests = [
            ("ledger", Request::Ledger(sync::Request::Finished { digest: StateHash([0xd1; 32]) })),
            ("mail_fetch", Request::MailFetch(vec![WireCursor { mailbox: MailboxId([0xb0; 32]), after: 7 }])),
            ("mail_put", Request::MailPut(vec![envelope.clone()])),
        ];
        let mut written = Vec::new();
        for (name, request) in requests {
            let mut wire = Cursor::new(Vec::<u8>::new());
            codec.write_request(&names.sync, &mut wire, Ok(request)).await.unwrap();
            written.push((name.to_owned(), hex::encode(wire.into_inner())));
        }
        assert_eq!(written, published("requests"));
        let answers = [
            ("ledger", Response::Ledger(sync::Answer::Same)),
            ("mail", Response::Mail(vec![Delivery { envelopes: vec![envelope], cursor: 9 }])),
            ("taken", Response::Taken),
            ("busy", Response::Busy),
        ];
        let mut written = Vec::new();
        for (name, answer) in answers {
            let mut wire = Cursor::new(Vec::<u8>::new());
            codec.write_response(&names.sync, &mut wire, Ok(answer)).await.unwrap();
            written.push((name.to_owned(), hex::encode(wire.into_inner())));
        }
        assert_eq!(written, published("answers"));
    }

    #[tokio::test]
    async fn an_oversize_frame_is_refused_by_its_length_alone() {
        // No byte of the body follows: reading on would end in an error instead.
        let len = u32::try_from(MAX_REQUEST_LEN + 1).unwrap();
        assert!(matches!(decode(len.to_be_bytes().to_vec()).await.unwrap(), Err(Malformed::TooLong(..))));
    }

    #[tokio::test]
    async fn trailing_bytes_unknown_messages_and_lying_counts_are_refused() {
        let finished = sync::Request::Finished { digest: StateHash([1; 32]) };
        let good = borsh::to_vec(&Request::Ledger(finished)).unwrap();
        let trailing = [&good[..], &[0]].concat();
        let unknown = [&[99], &good[1..]].concat();
        let lying = [&[2][..], &u32::MAX.to_le_bytes()].concat();
        for message in [trailing, unknown, lying, Vec::new()] {
            assert!(matches!(decode(framed(&message)).await.unwrap(), Err(Malformed::Undecodable(_))));
        }
    }

    #[tokio::test]
    async fn counts_beyond_the_bounds_are_refused() {
        let greedy =
            Request::Ledger(sync::Request::Heads { after: None, limit: u16::try_from(MAX_HEADS + 1).unwrap() });
        assert_eq!(
            decode(framed(&borsh::to_vec(&greedy).unwrap())).await.unwrap(),
            Err(Malformed::Ledger(sync::Malformed::TooMany("heads")))
        );
        let put = |count| framed(&borsh::to_vec(&Request::MailPut(vec![Vec::new(); count])).unwrap());
        assert!(decode(put(MAX_PUT)).await.unwrap().is_ok());
        assert_eq!(decode(put(MAX_PUT + 1)).await.unwrap(), Err(Malformed::TooMany("envelopes")));
    }

    #[tokio::test]
    async fn a_frame_cut_short_is_an_error_and_nobodys_fault() {
        assert!(decode(vec![0, 0, 0, 9, 1]).await.is_err());
    }
}
