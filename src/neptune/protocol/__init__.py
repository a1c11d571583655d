"""What cloud and edge say to each other, and the state machines of both ends. No I/O; time is an argument."""
