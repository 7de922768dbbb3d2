//! Lists in pages of one revision, the next page on its way while the last is read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt};
use keyval::{Entry, KeyRange, ListOptions, Listing, Order, Projection, Result, Revision};

use crate::connection::Client;
use crate::convert;
use crate::error::Call;

/// How many entries a page has, unless the caller says so.
const PAGE: usize = 1000;

/// Lists a range; the first page is read at once, as it settles the revision of all.
///
/// # Errors
/// Those of a read.
pub(crate) async fn list(
    client: &Arc<Client>,
    range: &KeyRange,
    options: ListOptions,
) -> Result<Listing> {
    if options.projection == Projection::Count {
        let page = read(client, range, options).await?;
        return Ok(Listing {
            revision: page.revision,
            count: Some(page.count),
            entries: stream::empty().boxed(),
        });
    }
    let mut rest = Rest {
        client: client.clone(),
        range: range.clone(),
        options,
        left: options.limit,
    };
    let page = rest.read().await?;
    let revision = page.revision;
    rest.options.at = Some(revision);
    Ok(Listing {
        revision,
        count: None,
        entries: Pages::new(page, rest).boxed(),
    })
}

struct Page {
    entries: Vec<Entry>,
    more: bool,
    count: u64,
    revision: Revision,
}

async fn read(client: &Client, range: &KeyRange, options: ListOptions) -> Result<Page> {
    let reply = client
        .call(Call::read("list", range).at(options.at), |node| {
            let mut kv = node.kv.clone();
            let wire = convert::wire_range(range);
            let options = convert::get_options(wire.end, &options);
            async move { kv.get(wire.key, Some(options)).await }
        })
        .await?
        .0;
    Ok(Page {
        // A read of the past is answered with the present revision in its header.
        revision: options
            .at
            .unwrap_or_else(|| convert::header_revision(reply.header.as_ref())),
        more: reply.more,
        count: u64::try_from(reply.count).unwrap_or_default(),
        entries: reply.kvs.into_iter().map(convert::entry).collect(),
    })
}

/// What of a list has not been asked for yet.
struct Rest {
    client: Arc<Client>,
    range: KeyRange,
    options: ListOptions,
    left: Option<usize>,
}

impl Rest {
    async fn read(&self) -> Result<Page> {
        let page = self.options.page.unwrap_or(PAGE);
        let mut options = self.options;
        options.limit = Some(self.left.map_or(page, |left| left.min(page)));
        read(&self.client, &self.range, options).await
    }

    /// What remains behind this page; `None` if nothing does.
    fn behind(mut self, page: &Page) -> Option<Self> {
        let last = &page.entries.last()?.key;
        self.range = match self.options.order {
            Order::Ascending => self.range.starting_at(last.successor()),
            Order::Descending => self.range.ending_at(last.clone()),
        };
        self.left = self
            .left
            .map(|left| left.saturating_sub(page.entries.len()));
        let wanted = page.more && self.left != Some(0) && !self.range.is_empty();
        wanted.then_some(self)
    }
}

/// The entries of one page after the other.
struct Pages {
    entries: std::vec::IntoIter<Entry>,
    next: Next,
}

/// The page behind the one that is being read.
enum Next {
    /// There is none.
    None,
    /// It is to be asked for as soon as someone reads.
    Planned(BoxFuture<'static, (Rest, Result<Page>)>),
    /// It was asked for.
    Asked(BoxFuture<'static, (Rest, Result<Page>)>),
    /// It is here.
    Here(Rest, Result<Page>),
}

impl Pages {
    fn new(page: Page, rest: Rest) -> Self {
        let next = match rest.behind(&page) {
            Some(rest) => Next::Planned(
                async move {
                    let page = rest.read().await;
                    (rest, page)
                }
                .boxed(),
            ),
            None => Next::None,
        };
        Self {
            entries: page.entries.into_iter(),
            next,
        }
    }
}

impl Stream for Pages {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // Polling once sends the request; the answer is collected behind the page in hand.
            if let Next::Planned(_) = self.next {
                self.ask(cx);
            }
            if let Some(entry) = self.entries.next() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if let Next::Asked(_) = self.next {
                self.ask(cx);
            }
            match std::mem::replace(&mut self.next, Next::None) {
                Next::None => return Poll::Ready(None),
                Next::Here(rest, Ok(page)) => *self = Self::new(page, rest),
                Next::Here(_, Err(error)) => return Poll::Ready(Some(Err(error))),
                waiting => {
                    self.next = waiting;
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Pages {
    fn ask(&mut self, cx: &mut Context<'_>) {
        self.next = match std::mem::replace(&mut self.next, Next::None) {
            Next::Planned(mut page) | Next::Asked(mut page) => match page.poll_unpin(cx) {
                Poll::Ready((rest, page)) => Next::Here(rest, page),
                Poll::Pending => Next::Asked(page),
            },
            other => other,
        };
    }
}
