//! The panic threshold: when so many fail at once that it is rather the monitor that
//! is wrong, traffic goes on to all.

use anyhow::{Result, ensure};
use krater_tests::rig::{Family, backends::tcp::Manner, load::Kind};

use super::scene::{DOCTOR_PORT, Stage, balancer_of, patient, tcp};

const ALL: [&str; 3] = ["m1", "m2", "m3"];

#[test]
fn when_more_than_the_threshold_fail_traffic_goes_to_all_and_everybody_is_told() -> Result<()> {
    let stage = Stage::raise()?;
    let doctors = stage.doctors(Manner::Status(200))?;
    let mut file = stage.file();
    for pool in file.pools() {
        pool.healthmonitor = Some(patient("HTTP"));
        pool.panic_threshold = Some(50);
        pool.member.iter_mut().for_each(|member| member.monitor_port = Some(DOCTOR_PORT));
    }
    let balancer = stage.balance(file)?;
    balancer.wait_all_up()?;
    let expect = |members: &[&str]| -> Result<()> {
        Family::BOTH.into_iter().try_for_each(|family| stage.expect_served_by(Kind::Http, tcp(family), members))
    };
    // One of three is below the threshold.
    doctors[..2].iter().for_each(|doctor| doctor.behave(Manner::Status(500)));
    for family in Family::BOTH {
        balancer.wait_down(&format!("{}/app/m1", balancer_of(family)), "status 500")?;
    }
    expect(&["m2", "m3"])?;
    ensure!(balancer.events_of("pool_panic", "web4/app")?.is_empty(), "one of three is no panic");

    doctors.iter().for_each(|doctor| doctor.behave(Manner::Status(500)));
    for family in Family::BOTH {
        let pool = format!("{}/app", balancer_of(family));
        for member in ALL {
            balancer.wait_down(&format!("{pool}/{member}"), "status 500")?;
        }
        balancer.wait("the panic to be told", || Ok(balancer.events_of("pool_panic", &pool)?.len() == 1))?;
        let shown = balancer.lbctl(&["pool", "list"])?.stdout + &balancer.lbctl(&["pool", "show", &pool])?.stdout;
        ensure!(shown.contains("panic"), "lbctl says nothing of a panic:\n{shown}");
    }
    expect(&ALL)?;

    doctors[2..].iter().for_each(|doctor| doctor.behave(Manner::Status(200)));
    for family in Family::BOTH {
        let pool = format!("{}/app", balancer_of(family));
        for member in ["m2", "m3"] {
            balancer.wait_status(&format!("{pool}/{member}"), "ONLINE")?;
        }
        balancer
            .wait("the end of the panic to be told", || Ok(balancer.events_of("pool_panic_over", &pool)?.len() == 1))?;
    }
    expect(&["m2", "m3"])
}
