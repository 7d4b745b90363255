"""The each::labs API: requests and what its responses mean, and the client, which alone holds the API key."""
