//! The two things done once per message, straight on librdkafka: taking a message and giving one.
//!
//! The safe client reads one event at a time, with three looks at the clock, four locks and two allocations each, and
//! copies every topic and header name to produce. Both together cost as much as decoding and scoring 28 floats
//! (`benches/`, `spine`), so here messages are taken in chunks and names are passed as they are.
//!
//! Rebalances and errors of the whole client still come through the safe consumer: only fetched messages are
//! forwarded to the queue of this file.
#![expect(unsafe_code, reason = "librdkafka's C functions; the safe wrapper's cost per message is what this avoids")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{NonNull, null, null_mut};
use std::time::Duration;

use lunapark_schemas::messages::At;
use lunapark_schemas::{Messages, Record, TopicPartition};
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr as Code;

use crate::log::Limit;

/// Messages that are taken at once, at most: 128 pointers are two memory pages' worth of bookkeeping less per message
/// than one, and more gains nothing.
const CHUNK: usize = 128;

/// No partition chosen yet, so that the producer's partitioner chooses (librdkafka's `RD_KAFKA_PARTITION_UA`).
const UNASSIGNED: i32 = -1;

/// Gives a client its first brokers once more, and does no harm where it still has them. It forgets all of them where the
/// one it asked knows of none, as a broker does that its controller has just fenced, and then asks nobody ever again
/// (librdkafka 2.12 and 2.13, its issue 5301).
pub fn bootstrap_again<C: ClientContext>(client: &Client<C>, bootstrap: &str) {
    let Ok(brokers) = CString::new(bootstrap) else { return };
    // SAFETY: the client is alive for the call, which copies the names.
    let known = unsafe { c::rd_kafka_brokers_add(client.native_ptr(), brokers.as_ptr()) };
    tracing::debug!(bootstrap, known, "brokers named again");
}

/// The id that the cluster gave a topic when it was made; none from brokers that gave none.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    within: Duration,
) -> Result<Option<String>, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    let millis = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: client and name live for the calls, which copy what they are given; what they make is checked before it is
    // used, destroyed once, and the event, which has the result, after what is read of it was copied.
    unsafe {
        let queue = c::rd_kafka_queue_new(client.native_ptr());
        let mut names = [name.as_ptr()];
        let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        // No options: the client's own time-out holds.
        c::rd_kafka_DescribeTopics(client.native_ptr(), topics, null(), queue);
        let event = c::rd_kafka_queue_poll(queue, millis);
        let found = if event.is_null() { Err("no answer in time".to_owned()) } else { id_of(event) };
        if !event.is_null() {
            c::rd_kafka_event_destroy(event);
        }
        c::rd_kafka_TopicCollection_destroy(topics);
        c::rd_kafka_queue_destroy(queue);
        found
    }
}

/// The first id of an answer.
///
/// # Safety
/// `event` is an event that librdkafka handed out and that was not destroyed.
unsafe fn id_of(event: *mut c::rd_kafka_event_t) -> Result<Option<String>, String> {
    // SAFETY: of an event of another kind the result is null; the array has as many topics as the call says, and they and
    // all texts live as long as the event.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let topics = match result.is_null() {
            true => null_mut(),
            false => c::rd_kafka_DescribeTopics_result_topics(result, &mut count),
        };
        if topics.is_null() || count == 0 {
            return Err(text(c::rd_kafka_event_error_string(event)));
        }
        let error = c::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() {
            return Err(text(c::rd_kafka_error_string(error)));
        }
        let id = c::rd_kafka_TopicDescription_topic_id(*topics);
        let given = !id.is_null()
            && (c::rd_kafka_Uuid_most_significant_bits(id), c::rd_kafka_Uuid_least_significant_bits(id)) != (0, 0);
        Ok(given.then(|| text(c::rd_kafka_Uuid_base64str(id))))
    }
}

/// # Safety
/// `start` is null or a text of C that lives for the call.
unsafe fn text(start: *const c_char) -> String {
    match start.is_null() {
        true => "no reason given".to_owned(),
        // SAFETY: as promised by the caller.
        false => unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned(),
    }
}

/// The queue to which the fetched messages of a consumer's partitions are forwarded. Drop it before the consumer.
pub(super) struct FetchQueue {
    queue: NonNull<c::rd_kafka_queue_t>,
    chunk: Vec<*mut c::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; `chunk` is empty between two calls.
unsafe impl Send for FetchQueue {}

impl FetchQueue {
    pub(super) fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the client is alive for the call; the queue counts its references itself.
        let queue = unsafe { c::rd_kafka_queue_new(consumer.client().native_ptr()) };
        NonNull::new(queue).map(|queue| Self { queue, chunk: Vec::with_capacity(CHUNK) })
    }

    /// Forwards what will be fetched of `partitions` to this queue. To be called before they are assigned: then none of
    /// their messages goes elsewhere, and their order is kept.
    pub(super) fn forward<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>, partitions: &[TopicPartition]) {
        for at in partitions {
            let Ok(topic) = CString::new(&*at.topic) else { continue };
            let client = consumer.client().native_ptr();
            // SAFETY: `client` and `topic` live for the call; the partition's queue is given back at once, its
            // forwarding outlives that.
            unsafe {
                let own = c::rd_kafka_queue_get_partition(client, topic.as_ptr(), at.partition);
                if !own.is_null() {
                    c::rd_kafka_queue_forward(own, self.queue.as_ptr());
                    c::rd_kafka_queue_destroy(own);
                }
            }
        }
    }

    /// Appends messages to `into`; waits for the first one only. `failed` hears of errors and says which of them end
    /// the reading; the caller must then read again from a known position.
    pub(super) fn read(
        &mut self,
        into: &mut Messages,
        limit: Limit,
        wait: Duration,
        failed: &mut dyn FnMut(KafkaError) -> Result<(), KafkaError>,
    ) -> Result<usize, KafkaError> {
        let (before, bytes) = (into.len(), into.bytes());
        let mut wait = wait;
        loop {
            let (read, size) = (into.len() - before, into.bytes() - bytes);
            if read >= limit.messages || size >= limit.bytes {
                return Ok(read);
            }
            let fits = match read {
                0 => 1,
                _ => (limit.bytes - size) / (size / read).max(1),
            };
            let most = fits.clamp(1, CHUNK).min(limit.messages - read);
            if !self.take(most, wait) {
                return Ok(read);
            }
            wait = Duration::ZERO;
            self.push(into, failed)?;
        }
    }

    /// Takes up to `most` messages; false where there are none.
    fn take(&mut self, most: usize, wait: Duration) -> bool {
        let millis = wait.as_millis().min(i32::MAX as u128) as i32;
        let most = most.min(self.chunk.capacity());
        // SAFETY: the buffer has room for `most` pointers, and the call writes as many as it returns.
        unsafe {
            let count = c::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis, self.chunk.as_mut_ptr(), most);
            self.chunk.set_len(count.max(0) as usize);
        }
        !self.chunk.is_empty()
    }

    /// Moves what was taken to `into`, in order, up to the first error that counts.
    fn push(
        &mut self,
        into: &mut Messages,
        failed: &mut dyn FnMut(KafkaError) -> Result<(), KafkaError>,
    ) -> Result<(), KafkaError> {
        let mut ended = Ok(());
        for message in self.chunk.drain(..) {
            // SAFETY: each pointer came from librdkafka, is not null, and is destroyed exactly once, after its use.
            unsafe {
                if ended.is_ok() {
                    ended = match code_of(message) {
                        Code::RD_KAFKA_RESP_ERR_NO_ERROR => push(into, &*message),
                        code => failed(KafkaError::MessageConsumption(code.into())),
                    };
                }
                c::rd_kafka_message_destroy(message);
            }
        }
        ended
    }
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, and nothing uses it after this.
        unsafe { c::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// The message's error. A broker newer than our bindings may send a code that they do not know, and that must not become
/// a value of the enumeration.
///
/// # Safety
/// `message` is a message that librdkafka handed out and that was not destroyed.
unsafe fn code_of(message: *const c::rd_kafka_message_t) -> Code {
    // SAFETY: the field has the size of a C `int`, whatever its value.
    let code = unsafe { (&raw const (*message).err).cast::<i32>().read() };
    Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN)
}

/// # Safety
/// `message` is a message without an error that librdkafka handed out and that was not destroyed.
unsafe fn push(into: &mut Messages, message: &c::rd_kafka_message_t) -> Result<(), KafkaError> {
    // SAFETY: key, payload and topic name live as long as the message.
    unsafe {
        let topic = CStr::from_ptr(c::rd_kafka_topic_name(message.rkt));
        let at = At {
            topic: topic
                .to_str()
                .map_err(|_| KafkaError::MessageConsumption(Code::RD_KAFKA_RESP_ERR__BAD_MSG.into()))?,
            partition: message.partition,
            offset: message.offset,
            timestamp: c::rd_kafka_message_timestamp(message, null_mut()),
        };
        let (key, value) = (bytes(message.key, message.key_len), bytes(message.payload, message.len));
        into.push(at, key, value, Headers::of(message));
    }
    Ok(())
}

/// # Safety
/// Where `start` is not null, `len` bytes from it on live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as promised by the caller.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
}

/// The headers of a message, in order. A name that is not UTF-8 is no name that Kafka allows; such a header is left
/// out, as the safe client would panic on it.
struct Headers<'a> {
    headers: *mut c::rd_kafka_headers_t,
    next: usize,
    of: std::marker::PhantomData<&'a c::rd_kafka_message_t>,
}

impl<'a> Headers<'a> {
    fn of(message: &'a c::rd_kafka_message_t) -> Self {
        let mut headers = null_mut();
        // SAFETY: the message lives; without headers the call leaves the pointer null.
        unsafe { c::rd_kafka_message_headers(message, &mut headers) };
        Self { headers, next: 0, of: std::marker::PhantomData }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.headers.is_null() {
            let (mut name, mut value, mut len): (*const c_char, *const c_void, usize) = (null(), null(), 0);
            // SAFETY: the headers live as long as the message; past the last one the call says so.
            let found = unsafe { c::rd_kafka_header_get_all(self.headers, self.next, &mut name, &mut value, &mut len) };
            if found != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            self.next += 1;
            // SAFETY: the name ends with a zero, the value has `len` bytes.
            if let (Ok(name), value) = unsafe { (CStr::from_ptr(name).to_str(), bytes(value, len)) } {
                return Some((name, value));
            }
        }
        None
    }
}

/// The topics to which a producer has written, each looked up once. Drop it before the producer.
#[derive(Default)]
pub(super) struct OutputTopics(Vec<(String, NonNull<c::rd_kafka_topic_t>)>);

// SAFETY: librdkafka's topic handles may be used from any thread.
unsafe impl Send for OutputTopics {}

impl OutputTopics {
    fn handle(&mut self, client: *mut c::rd_kafka_t, topic: &str) -> Option<*mut c::rd_kafka_topic_t> {
        if let Some((_, handle)) = self.0.iter().find(|(name, _)| name == topic) {
            return Some(handle.as_ptr());
        }
        let name = CString::new(topic).ok()?;
        // SAFETY: client and name live for the call; without a configuration of its own the topic has the client's.
        let handle = NonNull::new(unsafe { c::rd_kafka_topic_new(client, name.as_ptr(), null_mut()) })?;
        self.0.push((topic.to_owned(), handle));
        Some(handle.as_ptr())
    }

    /// Hands a record to the producer `client`, which copies it; `tag` comes back with a delivery that failed.
    pub(super) fn produce(
        &mut self,
        client: *mut c::rd_kafka_t,
        record: &Record<'_>,
        tag: usize,
    ) -> Result<(), KafkaError> {
        let unknown = KafkaError::MessageProduction(Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC.into());
        let topic = self.handle(client, record.topic).ok_or(unknown)?;
        let headers = headers(record);
        let (value, value_len) = parts(record.value);
        let (key, key_len) = parts(record.key);
        use c::rd_kafka_vtype_t as field;
        // SAFETY: each tag is followed by arguments of the types that librdkafka's header names for it, the list ends
        // with END, and all pointers live for the call. The headers are librdkafka's where the call succeeds.
        unsafe {
            let code = c::rd_kafka_producev(
                client,
                field::RD_KAFKA_VTYPE_RKT,
                topic,
                field::RD_KAFKA_VTYPE_PARTITION,
                record.partition.unwrap_or(UNASSIGNED),
                field::RD_KAFKA_VTYPE_MSGFLAGS,
                c::RD_KAFKA_MSG_F_COPY,
                field::RD_KAFKA_VTYPE_VALUE,
                value,
                value_len,
                field::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                field::RD_KAFKA_VTYPE_OPAQUE,
                tag as *mut c_void,
                field::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp.unwrap_or(0),
                field::RD_KAFKA_VTYPE_HEADERS,
                headers,
                field::RD_KAFKA_VTYPE_END,
            );
            if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Ok(());
            }
            if !headers.is_null() {
                c::rd_kafka_headers_destroy(headers);
            }
            Err(KafkaError::MessageProduction(code.into()))
        }
    }
}

impl Drop for OutputTopics {
    fn drop(&mut self) {
        for (_, handle) in &self.0 {
            // SAFETY: each handle is ours and used no more.
            unsafe { c::rd_kafka_topic_destroy(handle.as_ptr()) }
        }
    }
}

fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((null_mut(), 0), |bytes| (bytes.as_ptr() as *mut c_void, bytes.len()))
}

/// A header list of librdkafka's own, null where there are none.
fn headers(record: &Record<'_>) -> *mut c::rd_kafka_headers_t {
    if record.headers.is_empty() {
        return null_mut();
    }
    // SAFETY: librdkafka copies name and value, whose lengths are given.
    unsafe {
        let list = c::rd_kafka_headers_new(record.headers.count());
        for (name, value) in record.headers {
            let (value, len) = parts(value);
            c::rd_kafka_header_add(list, name.as_ptr().cast(), name.len() as isize, value, len as isize);
        }
        list
    }
}
