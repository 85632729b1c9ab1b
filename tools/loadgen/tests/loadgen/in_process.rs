//! The engine in process.

use millpond_tests::guest;

use crate::{done, loadgen, n};

#[test]
fn requests_to_components_of_each_contract_come_back_once_and_whole() {
    for name in ["echo", "echo-incoming", "batch-echo", "echo-wasmcloud"] {
        let component = guest(name).display().to_string();
        let line = format!(
            "request --embedded {component} --subject ask --rate 2000 --arrivals constant --settle 20s --duration 500ms --warmup 100ms --shards 1 --json"
        );
        let load = done(&mut loadgen(&line)).ended(0).load();
        let found = [
            "sent",
            "received",
            "lost",
            "duplicated",
            "corrupted",
            "strange",
        ]
        .map(|key| n(&load, key));
        assert_eq!(found, [1_200, 1_200, 0, 0, 0, 0], "{name}");
        assert_eq!(n(&load["latency"], "count"), 1_000);
    }
}

#[test]
fn what_a_component_sends_is_observed() {
    let component = guest("batch-echo").display().to_string();
    let line = format!(
        "publish --embedded {component} --subject echo --subjects 3 --observe echo.out --window 50 --settle 20s --duration 2s --warmup 0s --connections 2 --shards 1 --batch-max 8 --json"
    );
    let load = done(&mut loadgen(&line)).ended(0).load();
    assert!(n(&load, "sent") > 0);
    assert_eq!(n(&load, "received"), n(&load, "sent"));
}

#[test]
fn what_can_not_be_run_has_the_exit_codes_of_the_host() {
    done(&mut loadgen("request --embedded /nowhere.wasm"))
        .ended(3)
        .says(&["nowhere.wasm"]);
    let trap = guest("configure-trap").display().to_string();
    done(&mut loadgen(&format!("request --embedded {trap}")))
        .ended(4)
        .says(&["configure"]);
    let echo = guest("echo").display().to_string();
    done(&mut loadgen(&format!(
        "request --embedded {echo} --shards 1 --memory-total 1MiB"
    )))
    .ended(5)
    .says(&["memory", "MiB"]);
}
