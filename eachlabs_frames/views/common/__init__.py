"""What the views share: cards, static HTML, the JavaScript assets and notebook output."""
