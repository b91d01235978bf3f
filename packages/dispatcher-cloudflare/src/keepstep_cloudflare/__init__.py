"""keepstep_cloudflare: the HTTP-tick bridge between an app and a Durable Object's alarm."""

from keepstep_cloudflare.dispatcher import CloudflareDispatcher
from keepstep_cloudflare.endpoint import TickEndpoint, tick_endpoint
from keepstep_cloudflare.shards import Shards
from keepstep_cloudflare.signatures import new_secret

__all__ = ["CloudflareDispatcher", "Shards", "TickEndpoint", "new_secret", "tick_endpoint"]
