//! The memory of the flow tables, a window at a time.
//!
//! What must not be here: what a flow is, and what may be done to one.
//!
//! Invariant others rely on: a window begins at a multiple of its length, which is
//! a power of two and at least a page, so a bucket's neighbouring lines lie in one
//! window.

use std::ops::{Deref, Range};

use lb_common::flow::{Flow4Line, Flow6Line, Return4, Return6};
use lb_ebpf::{
    family::{Family, V4, V6},
    host::{Arrays, FlowArrays, OwnedArrays},
};

use crate::dataplane::{
    DataplaneError,
    region::{Region, Shared},
};

/// The smallest window of a table that is larger. Making it present takes some
/// hundred microseconds; two of them are mapped at once.
const WINDOW_BYTES: u32 = 4 << 20;

/// The most windows that a table is divided into. One table is gone through once
/// for each window of the other, so the larger tables are, the larger are windows.
const MAX_WINDOWS: u32 = 8;

/// Entries of a flow table, for as long as they are looked at.
#[derive(Debug)]
pub(in crate::dataplane) enum Window<'m, T> {
    /// They are in ordinary memory.
    Owned(&'m [T]),
    /// They were mapped for this look.
    Mapped(Region<T>),
}

/// Where the flow tables are. Windows are ranges of entries as [`windows`] makes
/// them.
pub(in crate::dataplane) trait FlowMemory {
    /// A window of `FLOWS4`.
    ///
    /// # Errors
    /// When it cannot be mapped.
    fn flows4(&self, window: Range<u32>) -> Result<Window<'_, Flow4Line>, DataplaneError>;
    /// A window of `FLOWS6`.
    ///
    /// # Errors
    /// As above.
    fn flows6(&self, window: Range<u32>) -> Result<Window<'_, Flow6Line>, DataplaneError>;
    /// A window of `RETURNS4`.
    ///
    /// # Errors
    /// As above.
    fn returns4(&self, window: Range<u32>) -> Result<Window<'_, Return4>, DataplaneError>;
    /// A window of `RETURNS6`.
    ///
    /// # Errors
    /// As above.
    fn returns6(&self, window: Range<u32>) -> Result<Window<'_, Return6>, DataplaneError>;
}

impl<T: Shared> Window<'_, T> {
    /// The entries.
    pub(in crate::dataplane) fn values(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            Self::Mapped(region) => region.values(),
        }
    }
}

fn owned<'m, T>(entries: &'m [T], window: &Range<u32>) -> Window<'m, T> {
    Window::Owned(entries.get(window.start as usize..window.end as usize).unwrap_or_default())
}

impl FlowMemory for OwnedArrays {
    fn flows4(&self, window: Range<u32>) -> Result<Window<'_, Flow4Line>, DataplaneError> {
        Ok(owned(FlowArrays::flows4(self), &window))
    }

    fn flows6(&self, window: Range<u32>) -> Result<Window<'_, Flow6Line>, DataplaneError> {
        Ok(owned(FlowArrays::flows6(self), &window))
    }

    fn returns4(&self, window: Range<u32>) -> Result<Window<'_, Return4>, DataplaneError> {
        Ok(owned(FlowArrays::returns4(self), &window))
    }

    fn returns6(&self, window: Range<u32>) -> Result<Window<'_, Return6>, DataplaneError> {
        Ok(owned(FlowArrays::returns6(self), &window))
    }
}

/// The windows of a table of `T` with `mask + 1` entries, a power of two.
pub(super) fn windows<T>(mask: u32) -> impl Iterator<Item = Range<u32>> {
    let length = window_length::<T>(mask);
    (0..=mask).step_by(length as usize).map(move |start| start..start + length)
}

/// The window that begins there.
pub(super) fn window_at<T>(mask: u32, start: u32) -> Range<u32> {
    start..start.saturating_add(window_length::<T>(mask))
}

fn window_length<T>(mask: u32) -> u32 {
    let least = (WINDOW_BYTES / size_of::<T>() as u32).next_power_of_two();
    least.max((mask >> MAX_WINDOWS.trailing_zeros()) + 1).min(mask.saturating_add(1))
}

/// A window and where it begins.
#[derive(Debug)]
pub(super) struct Part<'m, T> {
    first: u32,
    window: Window<'m, T>,
}

impl<T> Default for Part<'_, T> {
    fn default() -> Self {
        Self { first: 0, window: Window::Owned(&[]) }
    }
}

impl<'m, T: Shared> Part<'m, T> {
    pub(super) const fn new(first: u32, window: Window<'m, T>) -> Self {
        Self { first, window }
    }

    pub(super) fn values(&self) -> &[T] {
        self.window.values()
    }
}

/// The tables of a family.
pub(super) trait Look: Family<Line: Shared, Return: Shared> {
    /// A window of its forward table.
    fn lines(memory: &dyn FlowMemory, window: Range<u32>) -> Result<Window<'_, Self::Line>, DataplaneError>;
    /// A window of its return table.
    fn backs(memory: &dyn FlowMemory, window: Range<u32>) -> Result<Window<'_, Self::Return>, DataplaneError>;
    /// What the data path's code reads.
    fn view<'w>(others: &'w dyn Arrays, lines: &'w Part<'_, Self::Line>, backs: &'w Part<'_, Self::Return>)
    -> View<'w>;
}

impl Look for V4 {
    fn lines(memory: &dyn FlowMemory, window: Range<u32>) -> Result<Window<'_, Flow4Line>, DataplaneError> {
        memory.flows4(window)
    }

    fn backs(memory: &dyn FlowMemory, window: Range<u32>) -> Result<Window<'_, Return4>, DataplaneError> {
        memory.returns4(window)
    }

    fn view<'w>(others: &'w dyn Arrays, lines: &'w Part<'_, Flow4Line>, backs: &'w Part<'_, Return4>) -> View<'w> {
        let (first_line, first_return) = (lines.first, backs.first);
        let (flows4, returns4) = (lines.values(), backs.values());
        View { others, first_line, first_return, flows4, returns4, flows6: &[], returns6: &[] }
    }
}

impl Look for V6 {
    fn lines(memory: &dyn FlowMemory, window: Range<u32>) -> Result<Window<'_, Flow6Line>, DataplaneError> {
        memory.flows6(window)
    }

    fn backs(memory: &dyn FlowMemory, window: Range<u32>) -> Result<Window<'_, Return6>, DataplaneError> {
        memory.returns6(window)
    }

    fn view<'w>(others: &'w dyn Arrays, lines: &'w Part<'_, Flow6Line>, backs: &'w Part<'_, Return6>) -> View<'w> {
        let (first_line, first_return) = (lines.first, backs.first);
        let (flows6, returns6) = (lines.values(), backs.values());
        View { others, first_line, first_return, flows6, returns6, flows4: &[], returns4: &[] }
    }
}

/// Part of both tables of one family, and the other arrays.
pub(super) struct View<'w> {
    others: &'w dyn Arrays,
    first_line: u32,
    first_return: u32,
    flows4: &'w [Flow4Line],
    flows6: &'w [Flow6Line],
    returns4: &'w [Return4],
    returns6: &'w [Return6],
}

impl<'w> Deref for View<'w> {
    type Target = dyn Arrays + 'w;

    fn deref(&self) -> &Self::Target {
        self.others
    }
}

impl FlowArrays for View<'_> {
    fn flows4(&self) -> &[Flow4Line] {
        self.flows4
    }

    fn flows6(&self) -> &[Flow6Line] {
        self.flows6
    }

    fn returns4(&self) -> &[Return4] {
        self.returns4
    }

    fn returns6(&self) -> &[Return6] {
        self.returns6
    }

    fn first_line(&self) -> u32 {
        self.first_line
    }

    fn first_return(&self) -> u32 {
        self.first_return
    }
}

#[cfg(test)]
mod tests {
    use lb_common::limits::{DEFAULT_MAX_FLOWS, MAX_MAX_FLOWS, MIN_MAX_FLOWS};
    use lb_ebpf::host::FlowSizes;

    use super::*;

    fn check<T>(entries: u32) {
        let windows: Vec<Range<u32>> = windows::<T>(entries - 1).collect();
        assert!(windows.len() <= MAX_WINDOWS.max(1) as usize);
        assert_eq!((windows.first().map(|w| w.start), windows.last().map(|w| w.end)), (Some(0), Some(entries)));
        assert!(windows.windows(2).all(|two| two[0].end == two[1].start));
        for window in windows {
            let bytes = window.len() * size_of::<T>();
            assert!(window.len().is_power_of_two() && bytes.is_multiple_of(4096), "{window:?}");
            assert_eq!(window_at::<T>(entries - 1, window.start), window);
        }
    }

    #[test]
    fn windows_are_pages_that_follow_each_other_and_cover_the_table() {
        for flows in [MIN_MAX_FLOWS, 16_384, DEFAULT_MAX_FLOWS, 1 << 20, MAX_MAX_FLOWS] {
            let sizes = FlowSizes::for_flows(flows);
            check::<Flow4Line>(sizes.flow4_lines);
            check::<Flow6Line>(sizes.flow6_lines);
            check::<Return4>(sizes.returns);
            check::<Return6>(sizes.returns);
        }
        assert_eq!(windows::<Return4>(0).collect::<Vec<_>>().len(), 1);
    }
}
