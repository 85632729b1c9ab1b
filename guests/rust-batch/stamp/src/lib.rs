//! Stamps its messages: each goes on to `stamped` with headers that say when it was handled, by WASI's clock, and where, which is `SITE` in
//! the environment. Contract 3 with the standard library.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use millpond_guest::{Answer, Batch, Result};

fn handle(batch: &Batch<'_>, answer: &mut Answer) -> Result {
    let site = env::var("SITE").map_err(|_| "SITE is not granted")?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let handled_ms = since_1970.map_err(|_| "the clock is wrong")?.as_millis().to_string();
    for message in batch {
        println!("stamped one of {}", message.subject());
        answer
            .send(&message, "stamped")
            .raw_headers(message.raw_headers())
            .header("site", &site)
            .header("handled-ms", &handled_ms)
            .payload(message.payload());
    }
    Ok(())
}

millpond_guest::handler!(handle);
