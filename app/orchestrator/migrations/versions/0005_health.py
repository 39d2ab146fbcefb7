"""Stream health, refused publishers, capacity of the host

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-27 08:00:00

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade():
    # Columns are added and dropped in place: no table is copied, so that no row of another one goes with it.
    op.add_column('sessions', sa.Column('application', sa.String(length=16), nullable=False, server_default='live'))
    op.add_column('sessions', sa.Column('silent_seconds', sa.Double(), nullable=False, server_default='0'))
    op.create_table('health',
    sa.Column('session_id', sa.String(length=36), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.Column('facts', sa.JSON(), nullable=False),
    sa.Column('problems', sa.JSON(), nullable=False),
    sa.Column('leaves_at', sa.DateTime(), nullable=True),
    sa.ForeignKeyConstraint(['session_id'], ['sessions.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('session_id')
    )
    op.create_table('refused_publishes',
    sa.Column('stream_key_id', sa.Integer(), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.Column('reason', sa.String(length=32), nullable=False),
    sa.ForeignKeyConstraint(['stream_key_id'], ['stream_keys.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('stream_key_id')
    )
    op.create_table('host',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.Column('encode_more', sa.Integer(), nullable=True),
    sa.Column('carry_more', sa.Integer(), nullable=True),
    sa.Column('load_percent', sa.Integer(), nullable=True),
    sa.Column('failures', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('tallies',
    sa.Column('name', sa.String(length=32), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('name')
    )


def downgrade():
    op.drop_table('tallies')
    op.drop_table('host')
    op.drop_table('refused_publishes')
    op.drop_table('health')
    op.drop_column('sessions', 'silent_seconds')
    op.drop_column('sessions', 'application')
