//! Clusters of real processes, in one program: most of each test is waiting, so they run beside each other.

mod catch_up;
mod crashes;
mod damage;
mod harness;
mod heal;
mod membership;
mod range;
mod requests;
mod tiles;
mod trial;
mod volume;
mod wire;
