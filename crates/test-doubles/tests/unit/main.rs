//! The tests of the doubles, a file for each.

mod faulty;
mod mock_port;
mod scripted_port;
mod scripted_sockets;
