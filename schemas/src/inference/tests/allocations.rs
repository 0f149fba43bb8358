//! No allocation per event: once the columns and the reply's buffer have their size, an event of KServe v1 JSON is decoded
//! and its reply encoded without one.
#![expect(unsafe_code, reason = "an allocator that counts is the only witness, and cannot be written otherwise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::*;

thread_local! {
    /// Of this thread: other tests allocate meanwhile.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

fn count() {
    // A thread that ends has no counter any more.
    let _gone = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: each call is handed on to the system's allocator as it came, and its answer back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps what `alloc` asks of him.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps what `realloc` asks of him; the pointer came from `alloc`, which is the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread meanwhile.
fn allocations(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

const WIDTH: usize = 28;
const EVENTS: usize = 500;

/// Events as detectors write them: 28 numbers of all lengths, some missing.
fn events() -> Messages {
    let mut messages = Messages::new();
    for event in 0..EVENTS {
        let number = |field: usize| match (event * WIDTH + field) % 41 {
            0 => "null".to_owned(),
            n => format!("{}", (n as f64 - 20.5) / (field + 3) as f64 * 10f64.powi(n as i32 % 5 - 2)),
        };
        let numbers: Vec<_> = (0..WIDTH).map(number).collect();
        let at = At { topic: "inference.events", partition: 0, offset: event as i64, timestamp: 0 };
        let payload = format!("{{\"instances\":[[{}]]}}", numbers.join(","));
        messages.push_encoded(at, None, Some(payload.as_bytes()), Headers::default());
    }
    messages
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1u8; 64]))), 1);
    assert_eq!(allocations(|| assert!(std::hint::black_box(EVENTS + WIDTH) > 0)), 0);
}

#[test]
fn no_event_is_decoded_with_an_allocation() {
    let (messages, limits) = (events(), Limits::default());
    let mut rows = RowsBuilder::new(plain(WIDTH), EVENTS);
    let made = allocations(|| {
        for message in messages.iter() {
            let request = decode(&message, &mut rows, &limits).unwrap();
            assert_eq!((request.format, request.rows, request.extra), (Format::KserveV1, 1, None));
        }
    });
    assert_eq!((made, rows.rows()), (0, EVENTS));
}

#[test]
fn no_reply_is_encoded_with_an_allocation() {
    let signature = plain(WIDTH);
    let outputs = scores(&(0..EVENTS).map(|event| event as f32 / 7e3 - 1e-6).collect::<Vec<_>>());
    let request = Request { format: Format::KserveV1, rows: 1, extra: None };
    let context = ReplyContext { model_name: "higgs", model_version: "3", signature: &signature };
    // Warm: the longest reply of one float fits.
    let mut value = Vec::with_capacity(64);
    let made = allocations(|| {
        for event in 0..EVENTS {
            value.clear();
            encode(&request, &context, &outputs, event..event + 1, &[], &mut value).unwrap();
            assert!(value.starts_with(b"{\"predictions\":["));
        }
    });
    assert_eq!(made, 0);
}

#[test]
fn an_arrow_message_that_begins_as_the_one_before_is_decoded_without_an_allocation_per_column() {
    let columns = (0..WIDTH).map(|field| {
        let values = (0..EVENTS).map(|event| (event * WIDTH + field) as f32).collect::<arrow_array::Float32Array>();
        (format!("f{field}"), Arc::new(values) as arrow_array::ArrayRef)
    });
    let payload = super::arrow::stream(&[RecordBatch::try_from_iter(columns).unwrap()], None);
    let mut headers = HeadersBuf::new();
    headers.push_str("content-type", "application/vnd.apache.arrow.stream");
    let (mut rows, limits) = (RowsBuilder::new(plain(WIDTH), 11 * EVENTS), Limits::default());
    let mut decode_one =
        || with_message(&payload, headers.view(), |m| decode(m, &mut rows, &limits).map(|_| ()).unwrap());
    decode_one();
    let made = allocations(|| {
        let mut messages = Messages::new();
        let at = At { topic: "inference.events", partition: 0, offset: 0, timestamp: 0 };
        messages.push_encoded(at, None, Some(&payload), headers.view());
    });
    let by_decoding = allocations(&mut decode_one) - made;
    assert!(by_decoding < 8, "{by_decoding} for {WIDTH} columns");
    assert_eq!(rows.rows(), 2 * EVENTS);
}
