"""Servers to which streams are passed on

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-25 03:10:00

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade():
    op.create_table('relays',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('stream_key_id', sa.Integer(), nullable=False),
    sa.Column('server', sa.String(length=200), nullable=False),
    sa.Column('secret', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('reason', sa.String(length=32), nullable=True),
    sa.Column('state_at', sa.DateTime(), nullable=True),
    sa.ForeignKeyConstraint(['stream_key_id'], ['stream_keys.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('relays', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_relays_stream_key_id'), ['stream_key_id'], unique=False)


def downgrade():
    with op.batch_alter_table('relays', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_relays_stream_key_id'))

    op.drop_table('relays')
