"""What one worker tells by HTTP: metrics and health, and to `onionmx status` what fails."""
