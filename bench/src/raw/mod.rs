//! The baseline: a loop that makes a store and an instance, calls it with a batch and drops both. No engine around it.

mod lowering;
mod packed;
mod pool;
mod setting;

use std::time::{Duration, Instant};

use wasmtime::component::{
    Component, ComponentExportIndex, InstancePre, Linker, Resource, ResourceType, WasmList, WasmStr,
};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Result, Store, StoreContextMut, ensure};

use self::lowering::{GuestMessage, RawMessage, WitMessage, lowered};
pub use self::packed::Layout;
use self::packed::{Answer as Answer3, Packed, failed, take};
pub use self::pool::Allocator;
pub use self::setting::Setting;
use crate::clock::{self, THIS_THREAD, on_core};
use crate::guest::{Guest, HEADER, PAYLOAD_BYTES};

/// Calls between two looks at the clock.
const CALLS_A_LOOK: u64 = 64;
const VERSION: &str = "@0.2.0-draft";

/// What the host keeps for one instance: how many messages it sent, and of contract 1 their bytes.
#[derive(Debug, Default)]
struct Sent {
    bytes: Vec<u8>,
    messages: u64,
}

enum Client {}
enum Error {}

type Cx<'a> = StoreContextMut<'a, Sent>;
type Answer<T> = Result<(Result<T, Resource<Error>>,)>;

/// A component that is ready to be instantiated, and the batch that it is called with.
pub struct RawLoop {
    engine: Engine,
    pre: InstancePre<Sent>,
    handler: ComponentExportIndex,
    batch: Vec<RawMessage>,
    /// The batch as contract 3 has it; none for contract 1.
    packed: Option<Packed>,
    sends: u64,
    sent: Sent,
}

/// What a number of calls took.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Messages handled.
    pub messages: u64,
    /// From the first call to the last drop.
    pub elapsed: Duration,
    /// What the thread that handled them had of its core.
    pub on_core: Duration,
}

impl Run {
    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }

    /// Messages a second of the core.
    #[must_use]
    pub fn rate_on_core(&self) -> f64 {
        self.messages as f64 / self.on_core.as_secs_f64()
    }
}

/// Mean nanoseconds of each step of a call, the reading of the clock included in each.
#[derive(Debug, Clone, Copy)]
pub struct Pieces {
    /// Making the store.
    pub store: f64,
    /// Making the instance.
    pub instantiate: f64,
    /// Finding the typed function, lowering, calling, lifting.
    pub call: f64,
    /// Dropping both: the memory is reset.
    pub drop: f64,
    /// Of each of the four: reading the clock.
    pub clock: f64,
}

impl RawLoop {
    /// Compiles and links the component, for `batch` messages a call.
    ///
    /// # Errors
    /// The allocator is not available here, or the component is not as expected.
    pub fn new(guest: Guest, allocator: Allocator, batch: usize) -> Result<Self> {
        let engine = allocator.engine()?;
        let component = Component::from_file(&engine, guest.path())?;
        let (interface, function) = match guest.is_batch() {
            true => ("millpond:batch/handler@0.1.0".to_owned(), "handle"),
            false => (
                format!("wasi:messaging/messaging-guest{VERSION}"),
                "handler",
            ),
        };
        let interface = component
            .get_export_index(None, &interface)
            .context("no interface")?;
        let handler = component
            .get_export_index(Some(&interface), function)
            .context("no handler")?;
        let pre = linker(&engine)?.instantiate_pre(&component)?;
        let message = |id| RawMessage::new(guest.name(), vec![b'x'; PAYLOAD_BYTES], id, &[HEADER]);
        let batch: Vec<_> = (1..=batch as u64).map(message).collect();
        Ok(Self {
            engine,
            pre,
            handler,
            packed: guest.is_batch().then(|| Packed::new(&batch)),
            sends: guest.sends() * batch.len() as u64,
            batch,
            sent: Sent::default(),
        })
    }

    /// With this metadata on each message in place of the one pair, beside its subject and id.
    #[must_use]
    pub fn with_metadata(mut self, more: &'static [(&'static str, &'static str)]) -> Self {
        self.batch
            .iter_mut()
            .for_each(|message| message.more = more);
        self
    }

    /// With the batch of contract 3 laid out at this time; it is beforehand otherwise.
    #[must_use]
    pub fn laid_out(mut self, layout: Layout) -> Self {
        if let Some(packed) = &mut self.packed {
            packed.layout = layout;
        }
        self
    }

    /// Calls for at least this long.
    ///
    /// # Errors
    /// A call failed, or did not send what it should have.
    pub fn run_for(&mut self, time: Duration) -> Result<Run> {
        self.run(|calls, elapsed| calls % CALLS_A_LOOK == 0 && elapsed() >= time)
    }

    /// Calls so many times.
    ///
    /// # Errors
    /// As [`RawLoop::run_for`].
    pub fn run_calls(&mut self, calls_max: u64) -> Result<Run> {
        self.run(|calls, _| calls == calls_max)
    }

    fn run(&mut self, done: impl Fn(u64, &dyn Fn() -> Duration) -> bool) -> Result<Run> {
        let (begun, begun_on_core) = (clock::now(), on_core(THIS_THREAD)?);
        let elapsed = || clock::now() - begun;
        let mut calls = 0;
        while !done(calls, &elapsed) {
            let mut store = self.store();
            let instance = self.pre.instantiate(&mut store)?;
            self.call(&mut store, &instance)?;
            self.check(store)?;
            calls += 1;
        }
        Ok(Run {
            messages: calls * self.batch.len() as u64,
            elapsed: elapsed(),
            on_core: on_core(THIS_THREAD)? - begun_on_core,
        })
    }

    /// Takes this many calls apart.
    ///
    /// # Errors
    /// As [`RawLoop::run_for`].
    pub fn pieces(&mut self, calls: u64) -> Result<Pieces> {
        let mut sums = [Duration::ZERO; 5];
        for _ in 0..calls {
            let mut last = clock::now();
            let mut lap = |sum: &mut Duration| {
                let now: Instant = clock::now();
                *sum += now - last;
                last = now;
            };
            lap(&mut sums[4]);
            let mut store = self.store();
            lap(&mut sums[0]);
            let instance = self.pre.instantiate(&mut store)?;
            lap(&mut sums[1]);
            self.call(&mut store, &instance)?;
            lap(&mut sums[2]);
            self.check(store)?;
            lap(&mut sums[3]);
        }
        let [store, instantiate, call, drop, clock] =
            sums.map(|sum| sum.as_nanos() as f64 / calls as f64);
        Ok(Pieces {
            store,
            instantiate,
            call,
            drop,
            clock,
        })
    }

    /// One call in an instance that is made first, after `pause`: how long the call alone takes.
    ///
    /// # Errors
    /// As [`RawLoop::run_for`].
    pub fn call_after(&mut self, pause: impl FnOnce()) -> Result<Duration> {
        let mut store = self.store();
        let instance = self.pre.instantiate(&mut store)?;
        pause();
        let begun = clock::now();
        self.call(&mut store, &instance)?;
        let took = clock::now() - begun;
        self.check(store)?;
        Ok(took)
    }

    fn store(&mut self) -> Store<Sent> {
        let mut store = Store::new(&self.engine, std::mem::take(&mut self.sent));
        store.set_epoch_deadline(u64::MAX / 2);
        store
    }

    fn call(
        &mut self,
        store: &mut Store<Sent>,
        instance: &wasmtime::component::Instance,
    ) -> Result<()> {
        if let Some(packed) = &mut self.packed {
            let func = instance.get_typed_func::<(&[u8], &[u32]), (Result<Answer3, String>,)>(
                &mut *store,
                self.handler,
            )?;
            let (answer,) = func.call(&mut *store, packed.batch(&self.batch))?;
            return take(store, &answer.map_err(|reason| failed(&reason))?);
        }
        let func = instance
            .get_typed_func::<(&[WitMessage<'_>],), (Result<(), Resource<Error>>,)>(
                &mut *store,
                self.handler,
            )?;
        let (result,) = lowered(&self.batch, |messages| func.call(store, (messages,)))?;
        ensure!(result.is_ok(), "the guest returned an error");
        Ok(())
    }

    /// Takes what was sent out of a used store, drops it, and checks the number.
    fn check(&mut self, mut store: Store<Sent>) -> Result<()> {
        self.sent = std::mem::take(store.data_mut());
        drop(store);
        ensure!(
            self.sent.messages == self.sends,
            "{} messages were sent, not {}",
            self.sent.messages,
            self.sends
        );
        self.sent.messages = 0;
        self.sent.bytes.clear();
        Ok(())
    }
}

/// What `counter` and `echo` import; anything else traps.
fn linker(engine: &Engine) -> Result<Linker<Sent>> {
    let mut linker = Linker::new(engine);
    let mut types = linker.instance(&format!("wasi:messaging/messaging-types{VERSION}"))?;
    types.resource("client", ResourceType::host::<Client>(), |_, _| Ok(()))?;
    types.resource("error", ResourceType::host::<Error>(), |_, _| Ok(()))?;
    types.func_wrap("[static]client.connect", |_: Cx<'_>, (_,): (String,)| {
        Answer::Ok((Ok(Resource::<Client>::new_own(0)),))
    })?;
    let mut producer = linker.instance(&format!("wasi:messaging/producer{VERSION}"))?;
    producer.func_wrap("send", send)?;
    Ok(linker)
}

/// Lifts messages and keeps their bytes.
fn send(
    mut cx: Cx<'_>,
    (_, channel, messages): (Resource<Client>, WasmStr, WasmList<GuestMessage>),
) -> Answer<()> {
    let mut sent = std::mem::take(cx.data_mut());
    for index in 0..messages.len() {
        let message = messages.get(&mut cx, index).context("no message")??;
        sent.bytes
            .extend_from_slice(channel.to_str(&cx)?.as_bytes());
        sent.bytes.extend_from_slice(message.data.as_le_slice(&cx));
        sent.messages += 1;
    }
    *cx.data_mut() = sent;
    Ok((Ok(()),))
}
