//! Which inputs the window of a convolution or a pooling covers at each place.

use std::collections::HashMap;

/// Most that any number of a geometry may be.
const MAX_NUMBER: usize = 1 << 16;
/// Inputs that the different windows may list together: 32 MiB.
const MAX_TAPS: usize = 1 << 22;

/// Two dimensions, the outer one first; a single one is the inner, of an outer of 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// Channels that a window covers.
    pub channels: usize,
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    /// Before and behind, of each dimension.
    pub pads: [[usize; 2]; 2],
}

impl Geometry {
    /// The output's dimensions; none where they are no numbers that a row could have.
    pub(crate) fn output(&self) -> Option<[usize; 2]> {
        let of = |at: usize| {
            let numbers = [self.input[at], self.kernel[at], self.strides[at], self.dilations[at]];
            let fits = numbers.iter().all(|number| (1..=MAX_NUMBER).contains(number));
            let pads = self.pads[at];
            if !fits || pads.iter().any(|&pad| pad > MAX_NUMBER) {
                return None;
            }
            let covered = self.dilations[at] * (self.kernel[at] - 1) + 1;
            Some((self.input[at] + pads[0] + pads[1]).checked_sub(covered)? / self.strides[at] + 1)
        };
        Some([of(0)?, of(1)?])
    }

    /// Elements of the window along a dimension that lie inside the input at this place, and where the first one does.
    fn inside(&self, at: usize, place: usize) -> (Inside, usize) {
        let (start, pad, step) = (place * self.strides[at], self.pads[at][0], self.dilations[at]);
        let first = pad.saturating_sub(start).div_ceil(step).min(self.kernel[at]);
        let room = (self.input[at] + pad).saturating_sub(start).div_ceil(step);
        let end = room.min(self.kernel[at]).max(first);
        (Inside { first, end }, (start + first * step).saturating_sub(pad))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inside {
    first: usize,
    end: usize,
}

/// Places of one output line whose windows have the same shape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    window: u32,
    /// The first input of the first window.
    pub base: u32,
    /// The first place.
    pub first: u32,
    pub count: u32,
}

/// The windows of one group of channels.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(super) runs: Vec<Run>,
    /// Of each shape of a window the inputs, counted from its first, and which of the kernel's elements meets them.
    windows: Vec<Vec<(u32, u32)>>,
    /// Inputs from one place of a run to the next.
    pub(super) step: usize,
    /// Inputs of the group.
    pub(super) group: usize,
    places: usize,
}

impl Windows {
    /// None where the geometry makes no sense or the windows list too much.
    pub(crate) fn new(geometry: &Geometry) -> Option<Self> {
        let [lines, columns] = geometry.output()?;
        let places = lines.checked_mul(columns).filter(|&places| places <= MAX_NUMBER)?;
        let plane = geometry.input[0].checked_mul(geometry.input[1])?;
        let group = plane.checked_mul(geometry.channels).filter(|&group| group <= MAX_NUMBER)?;
        let mut new = Self { runs: Vec::new(), windows: Vec::new(), step: geometry.strides[1], group, places };
        let (mut known, mut taps) = (HashMap::new(), 0);
        for line in 0..lines {
            let (high, top) = geometry.inside(0, line);
            let mut last = None;
            for column in 0..columns {
                let (wide, left) = geometry.inside(1, column);
                let window = match known.get(&(high, wide)) {
                    Some(&window) => window,
                    None => {
                        taps += (high.end - high.first) * (wide.end - wide.first) * geometry.channels;
                        if taps > MAX_TAPS {
                            return None;
                        }
                        let window = new.windows.len() as u32;
                        new.windows.push(window_taps(geometry, high, wide));
                        known.insert((high, wide), window);
                        window
                    }
                };
                if last == Some(window)
                    && let Some(run) = new.runs.last_mut()
                {
                    run.count += 1;
                    continue;
                }
                let base = (top * geometry.input[1] + left).min(plane) as u32;
                new.runs.push(Run { window, base, first: (line * columns + column) as u32, count: 1 });
                last = Some(window);
            }
        }
        Some(new)
    }

    pub(crate) fn places(&self) -> usize {
        self.places
    }

    pub(super) fn taps(&self, run: &Run) -> &[(u32, u32)] {
        &self.windows[run.window as usize]
    }

    /// Inputs that all places of a channel meet together.
    pub(crate) fn meetings(&self) -> usize {
        self.runs.iter().map(|run| run.count as usize * self.taps(run).len()).sum()
    }

    /// The smallest number of inputs that a window covers.
    pub(crate) fn fewest(&self) -> usize {
        self.windows.iter().map(Vec::len).min().unwrap_or(0)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.windows.iter().map(|window| size_of_val(&window[..])).sum::<usize>() + size_of_val(&self.runs[..])
    }
}

fn window_taps(geometry: &Geometry, high: Inside, wide: Inside) -> Vec<(u32, u32)> {
    let [height, width] = geometry.input;
    let [kernel_height, kernel_width] = geometry.kernel;
    let mut taps = Vec::with_capacity((high.end - high.first) * (wide.end - wide.first) * geometry.channels);
    for channel in 0..geometry.channels {
        for line in high.first..high.end {
            for column in wide.first..wide.end {
                let down = (line - high.first) * geometry.dilations[0];
                let right = (column - wide.first) * geometry.dilations[1];
                let offset = (channel * height + down) * width + right;
                let tap = (channel * kernel_height + line) * kernel_width + column;
                taps.push((offset as u32, tap as u32));
            }
        }
    }
    taps
}
