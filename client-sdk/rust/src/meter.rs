//! Counts what a socket really takes: the bytes of data frames among all that is written.
//!
//! The WebSocket library keeps a buffer of its own and puts pongs between the frames, so that
//! nobody outside can tell how much of which frame has left. The bytes themselves tell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that counts the bytes of data frames written to it, once the handshake is over.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    stream: S,
    /// `None` during the handshake, which is no frame.
    frames: Option<FrameCounter>,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, frames: None }
    }

    /// From here on only frames are written.
    pub(crate) fn begin_frames(&mut self) {
        self.frames = Some(FrameCounter::default());
    }

    /// The bytes of data frames that were written since the last call.
    pub(crate) fn take_written(&mut self) -> u64 {
        self.frames.as_mut().map_or(0, |frames| std::mem::take(&mut frames.data_bytes))
    }
}

/// The length on the wire of a client's data frame with this much content (RFC 6455 section 5.2):
/// two bytes, the extended length and the masking key stand before it.
pub(crate) fn wire_bytes(content_bytes: usize) -> u64 {
    let extended = match content_bytes {
        0..=125 => 0,
        126..=65_535 => 2,
        _ => 8,
    };
    2 + extended + 4 + content_bytes as u64
}

/// Follows a client's frames through a stream of bytes.
#[derive(Debug, Default)]
struct FrameCounter {
    /// The beginning of the frame's header as far as it has come; the masking key is not needed.
    header: [u8; 10],
    header_len: usize,
    /// What is still to come of the frame behind that beginning.
    rest: u64,
    is_data: bool,
    data_bytes: u64,
}

impl FrameCounter {
    fn count(&mut self, mut bytes: &[u8]) {
        while let Some((&first, behind)) = bytes.split_first() {
            if self.rest > 0 {
                let taken = usize::try_from(self.rest).map_or(bytes.len(), |n| n.min(bytes.len()));
                self.rest -= taken as u64;
                self.data_bytes += if self.is_data { taken as u64 } else { 0 };
                bytes = &bytes[taken..];
            } else {
                self.take_header(first);
                bytes = behind;
            }
        }
    }

    fn take_header(&mut self, byte: u8) {
        if self.header_len == 0 {
            // Opcodes from 8 on are control frames (RFC 6455 section 5.2).
            self.is_data = byte & 0x0f < 8;
        }
        self.header[self.header_len] = byte;
        self.header_len += 1;
        self.data_bytes += u64::from(self.is_data);
        if let Some(content) = self.content_bytes() {
            self.rest = content.saturating_add(4);
            self.header_len = 0;
        }
    }

    /// The length of the frame's content, once enough of the header has come.
    fn content_bytes(&self) -> Option<u64> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        match (self.header_len, self.header[1] & 0x7f) {
            (0 | 1, _) => None,
            (4, 126) => Some(number(&self.header[2..4])),
            (10, 127) => Some(number(&self.header[2..10])),
            (_, 126 | 127) => None,
            (_, len) => Some(u64::from(len)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        if let Some(frames) = &mut self.frames {
            frames.count(&buf[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message as Frame;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// Content of the lengths at which headers change.
    const LENGTHS: [usize; 8] = [0, 1, 125, 126, 300, 65_535, 65_536, 100_000];

    async fn client(stream: DuplexStream) -> WebSocketStream<Metered<DuplexStream>> {
        let mut metered = Metered::new(stream);
        metered.begin_frames();
        WebSocketStream::from_raw_socket(metered, Role::Client, None).await
    }

    #[tokio::test]
    async fn whole_frames_count_with_their_headers() {
        let (near, mut far) = duplex(1 << 20);
        let mut socket = client(near).await;
        for length in LENGTHS {
            socket.send(Frame::binary(vec![7; length])).await.unwrap();
            assert_eq!(socket.get_mut().take_written(), wire_bytes(length), "{length}");
            let mut on_the_wire = vec![0; usize::try_from(wire_bytes(length)).unwrap()];
            far.read_exact(&mut on_the_wire).await.unwrap();
        }
        assert_eq!(far.read(&mut [0]).now_or_never().map(Result::ok), None, "there was more");
    }

    #[tokio::test]
    async fn every_byte_counts_when_it_is_taken_and_not_before() {
        for pipe_bytes in [1, 2, 3, 7, 100] {
            let (near, mut far) = duplex(pipe_bytes);
            let mut socket = client(near).await;
            let lengths = [0, 5, 126, 1_000];
            for length in lengths {
                socket.feed(Frame::text("x".repeat(length))).await.unwrap();
            }
            let all: u64 = lengths.into_iter().map(wire_bytes).sum();
            let (mut taken, mut read) = (0, 0);
            while read < all {
                tokio::task::unconstrained(socket.flush()).now_or_never();
                taken += socket.get_mut().take_written();
                let in_the_pipe = (all - read).min(pipe_bytes as u64);
                assert_eq!(taken, read + in_the_pipe, "of a pipe of {pipe_bytes}");
                read += far.read(&mut [0; 64]).await.unwrap() as u64;
            }
        }
    }

    #[tokio::test]
    async fn pongs_between_the_frames_do_not_count() {
        let (near, mut far) = duplex(1 << 20);
        let mut socket = client(near).await;
        let mut counted = 0;
        for length in LENGTHS {
            // A ping with two bytes of content, unmasked as a server sends it.
            far.write_all(&[0x89, 2, 1, 2]).await.unwrap();
            assert!(matches!(socket.next().await, Some(Ok(Frame::Ping(_)))));
            socket.send(Frame::binary(vec![7; length])).await.unwrap();
            counted += socket.get_mut().take_written();
        }
        assert_eq!(counted, LENGTHS.into_iter().map(wire_bytes).sum::<u64>());
        let pongs = LENGTHS.len() * (2 + 4 + 2);
        let mut on_the_wire = vec![0; usize::try_from(counted).unwrap() + pongs];
        far.read_exact(&mut on_the_wire).await.unwrap();
    }

    #[tokio::test]
    async fn the_handshake_does_not_count() {
        let (near, _far) = duplex(1_000);
        let mut metered = Metered::new(near);
        metered.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(metered.take_written(), 0);
        metered.begin_frames();
        metered.write_all(&[0x81, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
        assert_eq!(metered.take_written(), 7);
    }
}
