//! Admission and limits, over real sockets: who may buy, with which token, and how often. Each rule is
//! tried with a wrong caller.

mod command;
