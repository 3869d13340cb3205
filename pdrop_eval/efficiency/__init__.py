"""What a strategy costs: theoretical FLOPs and KV-cache bytes."""
