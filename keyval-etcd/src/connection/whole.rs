//! The body of a request, known to be whole as soon as it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

/// A part of a body.
type Part = Result<Frame<Bytes>, Status>;

/// The body of a request, which looks ahead: with its last part it tells that this was the last.
///
/// That of a stub tells only when it is asked for one part more, so that a request of one message
/// would take a frame more to send, and to receive, than it has to say.
pub(crate) struct Whole {
    /// What was found ahead.
    ahead: Option<Part>,
    /// Where the parts come from; none behind the last.
    rest: Option<Body>,
}

impl Whole {
    /// The same body, looking ahead.
    pub(crate) fn new(body: Body) -> Self {
        Self {
            ahead: None,
            rest: Some(body),
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let part = ready!(Pin::new(rest).poll_frame(cx));
        if !matches!(part, Some(Ok(_))) {
            self.rest = None;
        }
        Poll::Ready(part)
    }
}

impl HttpBody for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        let part = match self.ahead.take() {
            Some(ahead) => Some(ahead),
            None => ready!(self.poll_rest(cx)),
        };
        // Where nothing is ahead yet, whoever sends the body asks again, and is woken then.
        if let Poll::Ready(ahead) = self.poll_rest(cx) {
            self.ahead = ahead;
        }
        Poll::Ready(part)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;
    use hyper::body::{Body as HttpBody, Frame};
    use tonic::Status;
    use tonic::body::Body;

    use super::{Part, Whole};

    /// Parts, and when they are there; it never tells its end by itself.
    struct Parts(VecDeque<Poll<Part>>);

    impl HttpBody for Parts {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Part>> {
            self.0
                .pop_front()
                .map_or(Poll::Ready(None), |part| part.map(Some))
        }
    }

    /// What a sender of this body sees: each part, `...` where it has to wait, and `.` with the last.
    fn sent(parts: impl IntoIterator<Item = Poll<Part>>) -> Vec<String> {
        let mut body = Whole::new(Body::new(Parts(parts.into_iter().collect())));
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        loop {
            let text = match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Pending => "...".to_owned(),
                Poll::Ready(None) => return seen,
                Poll::Ready(Some(Err(status))) => status.message().to_owned(),
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().expect("data");
                    String::from_utf8(data.to_vec()).expect("text")
                }
            };
            let last = body.is_end_stream();
            seen.push(if last { text + "." } else { text });
            if last {
                return seen;
            }
        }
    }

    fn part(text: &'static str) -> Poll<Part> {
        Poll::Ready(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
    }

    #[test]
    fn the_only_part_is_known_to_be_the_last() {
        assert_eq!(sent([part("a")]), ["a."]);
    }

    #[test]
    fn parts_come_once_each_and_in_order_however_late_they_are() {
        let late = [
            part("a"),
            Poll::Pending,
            part("b"),
            part("c"),
            Poll::Pending,
        ];
        assert_eq!(sent(late), ["a", "b", "c"]);
        let first = [Poll::Pending, part("a"), part("b")];
        assert_eq!(sent(first), ["...", "a", "b."]);
    }

    #[test]
    fn a_failure_is_passed_on_and_is_the_last() {
        let failing = [
            part("a"),
            Poll::Ready(Err(Status::internal("broken"))),
            part("b"),
        ];
        assert_eq!(sent(failing), ["a", "broken."]);
    }

    #[test]
    fn a_body_without_parts_ends() {
        assert!(sent([]).is_empty());
    }
}
