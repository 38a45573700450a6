//! The doubles do what they say, a file for each.

mod faulty;
mod mock_port;
mod scripted_port;
mod scripted_sockets;
