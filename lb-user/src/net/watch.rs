//! The loop around the picture: wait for a wish, an event or a moment, look at
//! what may have changed, make sure of neighbours, publish.
//!
//! It never works without a pause: looking takes at most a fifth of the time,
//! however fast routes change, neighbours are asked at most once a second each,
//! and a kernel that does not answer is asked again a second later.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::{sync::watch as channel, time::sleep_until};

use super::{
    Hops, Wanted,
    events::{Event, Events},
    kernel::{AskError, Kernel},
    picture::Picture,
};

/// Changes of routes come in bursts: this long after the first of one, the
/// kernel is asked, whether or not the burst is over.
const BURST: Duration = Duration::from_millis(20);

/// The same for changes of neighbours, which only need to be published.
const BURST_OF_NEIGHBOURS: Duration = Duration::from_millis(5);

/// How often neighbours are looked after.
const TICK: Duration = Duration::from_secs(1);

/// How often everything is looked at again, whatever was heard.
const RESYNC: Duration = Duration::from_secs(30);

/// How long to wait with something that failed before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How many times as long as it took to look the next look has to wait.
const REST: u32 = 4;

pub(super) struct Watch {
    wanted: channel::Receiver<Wanted>,
    hops: channel::Sender<Hops>,
    picture: Picture,
    /// `None` while it has to be opened again.
    events: Option<Events>,
    kernel: Option<Kernel>,
    due: Due,
    /// Looks to the left of this one are put off.
    rested_at: Instant,
    /// Whether the next look takes in the neighbours already known too, and
    /// when one has to.
    everything: bool,
    resync_at: Instant,
    /// Failures are told once, not once a second.
    complained: bool,
    complained_of_asking: bool,
}

/// When something is to be done.
#[derive(Clone, Copy, Debug)]
struct Due {
    look: Instant,
    tick: Instant,
    publish: Option<Instant>,
}

impl Watch {
    /// Opens the sockets: first the one for events, so that nothing changes
    /// unseen between the first look and the first event.
    pub(super) fn open(wanted: channel::Receiver<Wanted>, hops: channel::Sender<Hops>) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            wanted,
            hops,
            picture: Picture::default(),
            events: Some(Events::open()?),
            kernel: Some(Kernel::open()?),
            due: Due { look: now, tick: now + TICK, publish: None },
            rested_at: now,
            everything: true,
            resync_at: now,
            complained: false,
            complained_of_asking: false,
        })
    }

    /// Runs until nobody sets members any more.
    pub(super) async fn run(mut self) {
        loop {
            let wake = self.due.publish.map_or(self.due.look, |at| at.min(self.due.look)).min(self.due.tick);
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.look_in(Duration::ZERO);
                }
                heard = next(&mut self.events) => self.hear(heard),
                () = sleep_until(wake.into()) => {}
            }
            self.work().await;
        }
    }

    /// Does what is due.
    async fn work(&mut self) {
        let now = Instant::now();
        if now >= self.due.look {
            self.look().await;
        }
        if now >= self.due.tick {
            self.due.tick = now + TICK;
            // Addresses that are held may have expired. Otherwise the same would follow, and
            // of ten thousand members that takes a hundredth of a core.
            if self.picture.holds() {
                self.due.publish.get_or_insert(now);
            }
            self.make_sure().await;
        }
        if self.due.publish.is_some_and(|at| now >= at) {
            self.due.publish = None;
            self.publish();
        }
    }

    /// Asks for a look, no later than that if looking is not too dear.
    fn look_in(&mut self, delay: Duration) {
        let at = (Instant::now() + delay).max(self.rested_at);
        self.due.look = self.due.look.min(at);
    }

    fn hear(&mut self, heard: io::Result<Vec<Event>>) {
        let now = Instant::now();
        match heard {
            Ok(events) => events.into_iter().for_each(|event| self.take(event, now)),
            Err(error) => {
                tracing::warn!(%error, "lost the event socket, opening another");
                self.events = None;
                self.everything = true;
                self.look_in(RETRY);
            }
        }
    }

    fn take(&mut self, event: Event, now: Instant) {
        match event {
            Event::Neighbour(place, report) => {
                let before = self.picture.neighbours.knowledge(place);
                if self.picture.neighbours.hear(place, report, now) {
                    // Mostly it is the kernel that makes sure of an address it knows.
                    if self.picture.neighbours.knowledge(place) != before {
                        self.due.publish.get_or_insert(now + BURST_OF_NEIGHBOURS);
                    }
                    // One that has just been forgotten is asked for at once.
                    self.due.tick = self.due.tick.min(now + BURST_OF_NEIGHBOURS);
                }
            }
            Event::Way => self.look_in(BURST),
            Event::Lost => {
                tracing::debug!("lost events of the kernel, looking at everything again");
                self.everything = true;
                self.look_in(BURST);
            }
        }
    }

    /// Looks at links, routes and those neighbours that are new, or at all.
    async fn look(&mut self) {
        let started = Instant::now();
        self.everything |= started >= self.resync_at;
        let looked = self.try_look().await;
        let now = Instant::now();
        self.rested_at = now + (now - started) * REST;
        match looked {
            Ok(()) => {
                self.complained = false;
                if std::mem::take(&mut self.everything) {
                    self.resync_at = now + RESYNC;
                }
                self.due.look = self.resync_at;
                self.publish();
                self.make_sure().await;
            }
            Err(error) => {
                if !self.complained {
                    tracing::warn!(error = %source_chain(&error), "cannot look at links, routes and neighbours");
                    self.complained = true;
                }
                self.kernel = None;
                self.everything = true;
                self.due.look = now + RETRY;
            }
        }
    }

    async fn try_look(&mut self) -> Result<(), AskError> {
        // Events first, here too: what is looked at afterwards cannot change unseen.
        if self.events.is_none() {
            self.events = Some(Events::open().map_err(AskError::Refused)?);
        }
        let everything = self.everything;
        self.picture.want(self.wanted.borrow_and_update().clone());
        let kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => Kernel::open().map_err(AskError::Refused)?,
        };
        let kernel = self.kernel.insert(kernel);
        self.picture.see_links(kernel.links().await?);
        let new = self.picture.see_routes(kernel.routes(self.picture.members()).await?);
        let places = if everything { self.picture.neighbours.places() } else { new };
        for (place, report) in kernel.neighbours(places).await? {
            self.picture.neighbours.hear(place, report, Instant::now());
        }
        Ok(())
    }

    /// Has the kernel ask neighbours that it does not know, or not for certain.
    async fn make_sure(&mut self) {
        let Some(kernel) = &self.kernel else { return };
        let places = self.picture.neighbours.take_due(Instant::now());
        for place in places {
            let Err(error) = kernel.make_sure(place).await else {
                self.complained_of_asking = false;
                continue;
            };
            // An interface that is going away refuses; its event is on its way.
            if !self.complained_of_asking {
                let link = self.picture.link_name(place.ifindex);
                let error = source_chain(&error);
                tracing::warn!(neighbour = %place.neighbour, link, error, "cannot have a neighbour asked");
                self.complained_of_asking = true;
            }
            if matches!(error, AskError::Closed | AskError::Silent(_)) {
                self.kernel = None;
                self.everything = true;
                self.look_in(RETRY);
                return;
            }
        }
    }

    fn publish(&mut self) {
        let new = self.picture.hops(Instant::now());
        self.hops.send_if_modified(|old| {
            let generation = old.generation + 1;
            let same = old.generation > 0
                && (&old.next_hops, &old.missing, &old.links) == (&new.next_hops, &new.missing, &new.links);
            if !same {
                *old = Hops { generation, ..new };
            }
            !same
        });
    }
}

/// The next events; none while there is no socket, until a look opens one.
async fn next(events: &mut Option<Events>) -> io::Result<Vec<Event>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

fn source_chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |source| source.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
