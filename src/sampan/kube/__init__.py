"""API server, controllers, scheduler, node agent."""
