"""Settings: parameters and config/*.conf in, validated values out; secrets are refused."""
