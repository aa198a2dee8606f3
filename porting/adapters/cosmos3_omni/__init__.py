"""Cosmos 3 Omni with actions: chunks of video with the actions between pictures, or after actions that are given."""
